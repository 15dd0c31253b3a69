"""How often everything is walked in search of garbage."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from prompt_operator import __main__
from prompt_operator.collector import THRESHOLDS, spare_full_passes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prompt_operator.settings import Settings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def full_passes() -> int:
    """Live as in ticks, beside objects that stay: answers come, are kept in part, and go. Return the full passes."""
    stays = [[number] for number in range(20_000)]
    counts = gc.get_stats()[2]["collections"]
    for _ in range(40):
        answer = [[number] for number in range(9_000)]
        stays[:2_000] = answer[:2_000]
    return int(gc.get_stats()[2]["collections"] - counts)


def test_answers_do_not_bring_full_passes() -> None:
    """What Python does by default walks everything several times; as tuned it does not."""
    gc.collect()
    assert full_passes() > 0
    spare_full_passes()
    gc.collect()
    assert full_passes() == 0


def test_the_operator_runs_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thresholds are set before anything is watched."""
    found = []

    async def operate(_settings: Settings) -> None:
        found.append(gc.get_threshold())

    monkeypatch.setattr(__main__, "operate", operate)
    monkeypatch.setattr(__main__, "configure_logging", lambda *_: None)
    assert CliRunner().invoke(__main__.main, ["run"]).exit_code == 0
    assert found == [THRESHOLDS]
