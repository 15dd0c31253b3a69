"""The files of tests/rules: what a user would write to test rules, played through the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.core.rules.scenario import expand, load, play

from prompt_operator.core.rules.units import parse_duration
from prompt_operator.core.rules.values import format_value

FILES = sorted((Path(__file__).parents[2] / "rules").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """Every expectation of the file holds: state, and value where one is given."""
    scenario = load(path)
    played = {(at, rule): (state, judgement) for at, rule, state, judgement in play(scenario)}
    for expected in scenario.expect:
        state, judgement = played[parse_duration(expected["at"]), expected["rule"]]
        finding = judgement.findings[0]
        value = None if finding.value is None else format_value(finding.metric, finding.value)
        wanted = (expected["state"], expected.get("value", value))
        assert (state.value, value) == wanted, f"{expected}: {judgement.message}"


def test_there_are_scenarios() -> None:
    """The files are found, so that the test above proves something."""
    assert len(FILES) >= 3


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("1 2 _ 3", (1, 2, None, 3)),
        ("1x2", (1, 1, 1)),
        ("0+10x3", (0, 10, 20, 30)),
        ("5-2x2", (5, 3, 1)),
        ("-5-2x1", (-5, -7)),
        ("_x2 1", (None, None, 1)),
    ],
)
def test_shorthand(text: str, samples: tuple[float | None, ...]) -> None:
    """Promtool's shorthand is expanded as promtool does."""
    assert expand(text) == samples
