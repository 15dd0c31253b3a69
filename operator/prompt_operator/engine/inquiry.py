"""Asking one metric source, under the names of one profile, for what the watched prompts need, shard by shard."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from prompt_operator.breaker import Breaker
from prompt_operator.core.rules import promql
from prompt_operator.core.rules.cadence import cadence
from prompt_operator.core.rules.measure import Need, Unusable
from prompt_operator.core.rules.metrics import CustomSeries
from prompt_operator.core.rules.reasons import GAPS, Reason
from prompt_operator.core.rules.shards import pack, unit
from prompt_operator.engine.watched import Round, Watched
from prompt_operator.ports import GiveUp, Retry, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.core.rules.promql import Answer
    from prompt_operator.engine.shared import Shared
    from prompt_operator.engine.store import Name
    from prompt_operator.ports import Clock, Metrics, Sample
    from prompt_operator.telemetry import Telemetry

SHARD = 500
"""Prompts that are asked about together: parsing the largest answer about them holds up other work for some 20 ms."""
AT_ONCE = 4
"""Queries under way at once at one source."""
CUSTOM_SECONDS = 10.0
"""What a policy's own query may take: less than a source takes to fail, since a tenant's heavy query says nothing about
the source, and must not open the circuit breaker that stops the queries of all others."""
CUSTOM_AT_ONCE = 2
"""Of the queries under way, those that policies bring along: the others never wait for these alone."""
CUSTOM_REST = 90.0
"""Seconds for which the own queries of a namespace are left alone after one that took too long."""
_FAST, _LONG = timedelta(minutes=5), timedelta(hours=24)


class Asked(NamedTuple):
    """Whom to ask, and under which names."""

    source: str
    profile: str


@dataclass(slots=True)
class Tally:
    """How the queries of one source went in one tick, but for those that policies bring along."""

    asked: int = 0
    failed: int = 0
    detail: str = ""
    """Of the first failure."""

    def count(self, failure: str | None) -> None:
        """Count one query; `failure` is None when it was answered."""
        self.asked += 1
        if failure is not None:
            self.failed += 1
            self.detail = self.detail or failure


class Slots:
    """Places for the queries of one tick at one source.

    Policies' own queries take some of the places only, and one at a time for each namespace: so the first that takes
    too long is the last that is asked of that namespace.
    """

    def __init__(self) -> None:
        self._all, self._custom = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(CUSTOM_AT_ONCE)
        self._namespaces = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self.told: dict[str, Sequence[Sample]] = {}
        """Own query -> its answer: the parts of a large namespace ask the same."""

    @asynccontextmanager
    async def place(self, need: Need) -> AsyncIterator[None]:
        """Wait for a place."""
        if not isinstance(need.quantity, CustomSeries):
            async with self._all:
                yield
            return
        async with self._namespaces[need.quantity.namespace], self._custom, self._all:
            yield


@dataclass(slots=True)
class Shard:
    """Namespaces that are asked about together, and when each need was last answered."""

    number: int
    units: frozenset[str] = frozenset()
    namespaces: tuple[str, ...] = ()
    prompts: tuple[str, ...] | None = None
    """Their names, where only a part of a namespace is asked about; None: all there are."""
    members: list[tuple[Name, Watched]] = field(default_factory=list)
    answered: dict[Need, float] = field(default_factory=dict)
    """Need -> monotonic second of the last whole answer."""


class Inquiry:
    """What is asked of one source under one profile.

    Args:
        asked: the names of both.
        metrics: the source; None when the operator has none of that name: its prompts' rules stay unknown.
        profile: the profile; None likewise.
        clock: for intervals.
        telemetry: counts and times queries.
        namespaces: the namespaces the operator looks after; None means all.
        tick: time between two ticks.
    """

    def __init__(
        self,
        asked: Asked,
        metrics: Metrics | None,
        profile: Profile | None,
        clock: Clock,
        telemetry: Telemetry,
        *,
        namespaces: tuple[str, ...] | None,
        tick: timedelta,
    ) -> None:
        self.asked, self._metrics, self._profile = asked, metrics, profile
        self._clock, self._telemetry, self._namespaces, self._tick = clock, telemetry, namespaces, tick
        self.shards: dict[int, Shard] = {}
        self._own: dict[str, Breaker] = {}
        """Namespace -> what keeps its policies' own queries from holding up everybody's."""

    @property
    def lag(self) -> timedelta:
        """How far behind the present its newest data may be."""
        return self._metrics.lag if self._metrics is not None else timedelta()

    def arrange(self, members: list[tuple[Name, Watched]]) -> None:
        """Pack the prompts that are watched now into shards; one that gained any asks everything anew."""
        counts = Counter(name.namespace for name, _ in members)
        units = {name: unit(*name, counts[name.namespace], SHARD) for name, _ in members}
        before = {each: number for number, shard in self.shards.items() for each in shard.units}
        packed = pack(Counter(units.values()), before, SHARD)
        shards = {number: Shard(number) for number in sorted(set(packed.values()))}
        for name, each in members:
            shards[packed[units[name]]].members.append((name, each))
        for number, shard in shards.items():
            shard.units = frozenset(units[name] for name, _ in shard.members)
            shard.namespaces = tuple(sorted({name.namespace for name, _ in shard.members}))
            if shard.units != set(shard.namespaces):
                shard.prompts = tuple(sorted({name.name for name, _ in shard.members}))
            old = self.shards.get(number)
            if old is not None and shard.units <= old.units:
                shard.answered = old.answered
        self.shards = shards

    async def ask(self, shard: Shard, now: datetime, shared: Shared, slots: Slots, tally: Tally) -> Round:
        """Ask what is due for the prompts of one shard."""
        began = self._clock.monotonic()
        plans = {id(each.plan): each.plan for _, each in shard.members}.values()
        needed = frozenset().union(*(plan.needed for plan in plans))
        due = frozenset(need for need in needed if self._is_due(shard, need, began)) | self._wanted_now(shard, shared)
        lacking = self._lacking(needed)
        answers = await self._answers(shard, due - lacking.keys(), shared.at, slots)
        for need, answer in answers.items():
            self._note(shard, need, answer, began, tally)
        return Round(self._profile, answers, due, lacking, now, shared)

    def _is_due(self, shard: Shard, need: Need, now: float) -> bool:
        """Tell whether it is time: a tick may come a little early or late, so half of one does not matter."""
        last = shard.answered.get(need)
        return last is None or now - last >= (cadence(need.window) - self._tick / 2).total_seconds()

    @staticmethod
    def _wanted_now(shard: Shard, shared: Shared) -> frozenset[Need]:
        """Return what is needed by prompts of which some rule was never judged: they do not wait for slow windows."""
        plans = {id(each.plan): each.plan for _, each in shard.members if each.new and each.settled(shared.at)}
        return frozenset().union(*(plan.needed for plan in plans.values()))

    def _lacking(self, needed: frozenset[Need]) -> Mapping[Need, Unusable]:
        if self._metrics is None:
            return dict.fromkeys(needed, Unusable(Reason.NOT_MEASURED, f"there is no source {self.asked.source}"))
        if self._profile is None:
            why = f"there is no metric profile {self.asked.profile}"
            return dict.fromkeys(needed, Unusable(Reason.NOT_MEASURED, why))
        return promql.unmeasured(self._profile, needed)

    async def _answers(self, shard: Shard, due: frozenset[Need], at: datetime, slots: Slots) -> dict[Need, Answer]:
        if self._profile is None or self._metrics is None:
            return {}
        everywhere = self._namespaces is None and len(self.shards) == 1
        asked = promql.queries(self._profile, due, None if everywhere else shard.namespaces, shard.prompts)
        found = await asyncio.gather(*(self._answer(self._metrics, query, at, slots) for query in asked))
        return {query.need: answer for query, answer in zip(asked, found, strict=True)}

    async def _answer(self, metrics: Metrics, query: promql.Query, at: datetime, slots: Slots) -> Answer:
        async with slots.place(query.need):
            began = self._clock.monotonic()
            try:
                samples = await self._asked(metrics, query, at, slots)
            except (Retry, GiveUp) as error:
                self._telemetry.query_failures.labels(self.asked.source).inc()
                return Unusable(Reason.QUERY_FAILED, str(error))
            finally:
                took = self._clock.monotonic() - began
                self._telemetry.query_duration.labels(self.asked.source, _kind(query.need.window)).observe(took)
            return promql.absorb(query, samples)

    async def _asked(self, metrics: Metrics, query: promql.Query, at: datetime, slots: Slots) -> Sequence[Sample]:
        """Ask; a policy's own query is asked once, and if it takes too long its namespace has to wait for a while."""
        if not isinstance(query.need.quantity, CustomSeries):
            return await metrics.query(query.promql, at)
        if query.promql not in slots.told:
            slots.told[query.promql] = await self._within(metrics, query, at, self._breaker(query.need.quantity))
        return slots.told[query.promql]

    async def _within(self, metrics: Metrics, query: promql.Query, at: datetime, breaker: Breaker) -> Sequence[Sample]:
        breaker.enter()
        try:
            async with asyncio.timeout(CUSTOM_SECONDS):
                samples = await metrics.query(query.promql, at)
        except TimeoutError:
            breaker.failed()
            raise Unavailable(f"no answer within {CUSTOM_SECONDS:g} s: make it read less") from None
        except BaseException:
            breaker.left()
            raise
        breaker.succeeded()
        return samples

    def _breaker(self, series: CustomSeries) -> Breaker:
        name = f"asking for custom metrics of namespace {series.namespace} (one took over {CUSTOM_SECONDS:g} s)"
        made = Breaker(name, self._clock.monotonic, failures=1, open_seconds=CUSTOM_REST)
        return self._own.setdefault(series.namespace, made)

    def _note(self, shard: Shard, need: Need, answer: Answer, began: float, tally: Tally) -> None:
        """Remember when a need was answered; what failed is asked again at the next tick.

        The first time counts as a little earlier, by another span for each shard: so slow windows spread over ticks.
        """
        failed = isinstance(answer, Unusable) and answer.reason not in GAPS
        if not isinstance(need.quantity, CustomSeries):
            tally.count(answer.detail if isinstance(answer, Unusable) and failed else None)
        if failed:
            shard.answered.pop(need, None)
        else:
            every = cadence(need.window).total_seconds()
            spread = 0.0 if need in shard.answered or not every else shard.number * self._tick.total_seconds() % every
            shard.answered[need] = began - spread


def _kind(window: timedelta) -> str:
    """Return the class of a window as a label has it."""
    if window <= _FAST:
        return "short"
    return "long" if window >= _LONG else "medium"
