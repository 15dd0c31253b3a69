"""The one screen: it fits, whatever is shown on it."""

import io
from dataclasses import replace

from rich.console import Console

from devcluster.demo.observer import Projection, RuleChange, Sight
from devcluster.demo.pace import FAST
from devcluster.demo.screen import drawn
from devcluster.demo.story import Story

HASH = "sha256:" + "ab" * 32
LONG = "word " * 60


class _Observed:
    def __init__(self, sight: Sight) -> None:
        self.sight = sight


def _full() -> Sight:
    """Return a sight in which everything there is to show has been seen, in long words."""
    conditions = [{"type": "Ready", "status": "False", "reason": "RolledBack"}, {"type": "Healthy", "status": "True"}]
    prompt = {"spec": {"version": "1.1.0"}, "status": {"activeVersion": "1.0.0", "conditions": conditions}}
    return Sight(
        prompt=prompt,
        projections=(Projection(1.0, "1.0.0", HASH, "17"),),
        rule_changes=tuple(RuleChange(1.0, state) for state in ("Normal", "Pending", "Firing", "Normal")),
        record={"spec": {"fromVersion": "1.1.0", "toVersion": "1.0.0", "reason": LONG}},
        error_rate=0.214,
        by_version={"1.0.0": 0.0, "1.1.0": 0.4},
        curve=(None, 0.0, 0.2, 0.4, 1.0) * 40,
        application={
            "version": "1.0.0",
            "hash": HASH,
            "versions": {"1.0.0": {"asked": 1234, "rejected": 5}},
            "last": {"question": LONG, "answer": LONG, "problem": "no JSON"},
        },
    )


def _lines(sight: Sight, width: int, height: int) -> list[str]:
    story = Story(good=False, pace=FAST, doing=LONG, policy=LONG, components={"kube-apiserver": "v1.36.3"})
    story.observer = _Observed(sight)  # type: ignore[assignment]
    for number in range(20):
        story.note(f"scene {number} {LONG}", "alarm")
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as captured:
        console.print(drawn(story, height))
    return captured.get().splitlines()


def test_the_screen_fits_a_small_terminal() -> None:
    """80 columns and 24 lines are enough; the newest scenes are the ones that stay."""
    lines = _lines(_full(), 80, 24)

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert any("scene 19" in line for line in lines)
    assert not any("scene 1 " in line for line in lines)


def test_the_screen_shows_what_was_seen() -> None:
    """Error rate, both versions, the rule's way through its states, the ConfigMap and the rollback are on it."""
    shown = "\n".join(_lines(_full(), 120, 40))

    for piece in ("21.4%", "1.1.0  40.0%", "Normal → Pending → Firing → Normal", "= ConfigMap", "1.1.0 → 1.0.0"):
        assert piece in shown


def test_a_screen_before_anything_is_seen() -> None:
    """Nothing is claimed before it was seen: no rate, no version, no ConfigMap."""
    shown = "\n".join(_lines(Sight(), 80, 24))

    assert "no data yet" in shown
    assert "nothing is mounted yet" in shown
    assert "ConfigMap -" in shown


def test_the_hash_is_compared_with_the_config_map() -> None:
    """Served text that is not the ConfigMap's is not called equal, and does not count as served."""
    sight = replace(_full(), projections=(Projection(1.0, "1.0.0", "sha256:" + "cd" * 32, "17"),))

    assert "= ConfigMap" not in "\n".join(_lines(sight, 120, 40))
    assert not sight.serves("1.0.0")
    assert _full().serves("1.0.0")
