"""What the guards are told of other prompts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.core.builders import a_reading, after, readings

from prompt_operator.core.correlation import Factor, Tally
from prompt_operator.core.rules.streak import State
from prompt_operator.engine.neighbours import Neighbours
from prompt_operator.engine.store import Name

if TYPE_CHECKING:
    from prompt_operator.core.facts import RuleReading


def tally(*rules: RuleReading) -> Tally:
    """The count of one namespace, where each prompt has one of these readings."""
    known = [(Name("shop", f"bot-{number}"), readings(each)) for number, each in enumerate(rules)]
    store = SimpleNamespace(version_of=lambda *_: None, automatic_rollbacks=dict)
    clock = SimpleNamespace(snapshots=lambda: iter(known), judged_at=after(hours=3))
    neighbours = Neighbours(cast("Any", store), cast("Any", clock), cast("Any", SimpleNamespace(server_skew=None)))
    return neighbours.of(known[0][1], after(hours=3)).tallies[Factor("namespace", "shop")]


@pytest.mark.parametrize("errors", [0, 100], ids=["was well", "was failing"])
def test_what_was_known_before_the_queries_failed_is_no_witness(errors: float) -> None:
    """A shard without answers keeps its last verdicts: they are neither the health nor the breach of this window."""
    firing = [a_reading() for _ in range(3)]
    assert tally(*firing, *(a_reading(errors=0, state=State.NORMAL) for _ in range(12))) == Tally(3, 15)
    unanswered = [a_reading(errors=errors, state=State.UNKNOWN) for _ in range(12)]
    assert tally(*firing, *unanswered) == Tally(3, 3)
