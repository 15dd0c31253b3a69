"""What the guards ask of the whole cluster: other prompts that fail, other rollbacks, the API server's clock."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from prompt_operator.core.correlation import Witness, factors_of, tallies_of
from prompt_operator.core.facts import Elsewhere
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.model import Action
from prompt_operator.core.rules.streak import State
from prompt_operator.engine.store import Name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from prompt_operator.core.correlation import Factor, Tally
    from prompt_operator.core.facts import Readings
    from prompt_operator.core.plan import Plan
    from prompt_operator.engine.ruleclock import RuleClock
    from prompt_operator.engine.store import Store
    from prompt_operator.ports import Cluster

_NOTHING = Elsewhere()


class Neighbours:
    """Answers only where a rule asks for a rollback; what it counts over all prompts it counts once per tick."""

    def __init__(self, store: Store, rules: RuleClock, cluster: Cluster) -> None:
        self._store, self._rules, self._cluster = store, rules, cluster
        self._under_way: dict[Name, datetime] = {}
        """Rollbacks that are being decided, by record: status may not tell of them yet."""
        self._tallies: Mapping[Factor, Tally] = {}
        self._tallied_at: datetime | None = None

    def of(self, readings: Readings | None, now: datetime) -> Elsewhere:
        """Return what the guards of a prompt with these readings need."""
        if readings is None or not any(r.streak.firing and Action.ROLLBACK in r.rule.actions for r in readings.rules):
            return _NOTHING
        skew = self._cluster.server_skew
        return Elsewhere(
            skew=None if skew is None else timedelta(seconds=skew),
            rollbacks=tuple({**self._under_way, **self._store.automatic_rollbacks()}.values()),
            tallies=self._tally(now),
        )

    def _tally(self, now: datetime) -> Mapping[Factor, Tally]:
        """All decisions of one tick see the same counts, so that the first rollback does not hide the next breach."""
        if self._tallied_at != self._rules.judged_at:
            self._tallies, self._tallied_at = tallies_of(self._witnesses(), now), self._rules.judged_at
        return self._tallies

    def _witnesses(self) -> Iterator[Witness]:
        for name, readings in self._rules.snapshots():
            rules = [r for r in readings.rules if Action.ROLLBACK in r.rule.actions]
            # Of a rule whose query fails the last verdict is kept: it says nothing of this window.
            verdicts = {r.alert.verdict for r in rules if r.streak.state is not State.UNKNOWN}
            version = self._store.version_of(name, readings.version)
            yield Witness(
                factors=factors_of(name.namespace, version),
                activated_at=readings.activated_at,
                known=bool(verdicts - {Verdict.UNKNOWN}),
                breaches=Verdict.TRUE in verdicts,
            )

    @contextmanager
    def counting(self, name: Name, plan: Plan, now: datetime) -> Iterator[None]:
        """Count the rollback of this plan from before its first write until status tells of it or it failed."""
        decision = plan.decision
        if decision is None or decision.kind != "Rollback":
            yield
            return
        record = Name(name.namespace, decision.id)
        self._under_way[record] = now
        try:
            yield
        finally:
            self._under_way.pop(record, None)
