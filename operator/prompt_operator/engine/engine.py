"""One run per key: gather, decide, apply; and the two loops beside it, the rule clock's and the sweep's."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from prompt_operator.core.audit.entries import policy_deleted
from prompt_operator.core.baseline import baselines_of, to_freeze
from prompt_operator.core.mode import Mode
from prompt_operator.core.plan import Plan, WriteStatus
from prompt_operator.core.reconcile import effective_mode, reconcile, troubled
from prompt_operator.engine.apply import Applier
from prompt_operator.engine.commoncauses import CommonCauses
from prompt_operator.engine.companions import Companions, Known
from prompt_operator.engine.freezing import Freezing
from prompt_operator.engine.gather import Surroundings, gather, read_content
from prompt_operator.engine.neighbours import Neighbours
from prompt_operator.engine.queue import Queue
from prompt_operator.engine.ruleclock import RuleClock
from prompt_operator.engine.rulegauges import RuleGauges
from prompt_operator.engine.store import Key, Name, Store
from prompt_operator.ports import (
    EXPERIMENT,
    PROMPT,
    PROMPT_POLICY,
    PROMPT_VERSION,
    Conflict,
    GiveUp,
    NotFound,
    NoTrail,
    Retry,
    Terminating,
    UnknownKind,
    WentBack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from prompt_operator.core.facts import Facts
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.engine.rulegauges import RuleMetrics
    from prompt_operator.ports import Clock, Cluster, Events, Kind, Manifest, Metrics, Trail
    from prompt_operator.telemetry import Telemetry

_log = logging.getLogger(__name__)

_VANISHED = 1.0  # seconds: what is written to was deleted a moment ago, and the watch tells soon
_TROUBLE_AFTER = 2  # failures in a row that a retry may mend before status tells of them
_WATCHES_BEGIN = 5.0
"""Seconds after the start within which the watches are there, as a rule; the sweep comes after."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The engine's times in seconds, and what stands for chance."""

    tick: float = 15.0
    sweep: float = 300.0
    workers: int = 16
    jitter: Callable[[], float] = lambda: 0.5


class Engine:
    """Owns the store, the queue and the rule clock; outside systems come in as ports.

    Args:
        cluster: the API server.
        sources: metric sources by name, `default` for prompts that name none; rules without theirs stay unknown.
        events: the recorder of Events.
        clock: the clocks.
        telemetry: the operator's own metrics.
        profiles: metric profiles by name.
        mode: says the operator-wide mode: Active, Fallback or Frozen.
        pace: times.
        namespaces: the namespaces looked after; None means all.
        rule_metrics: which single rules are shown as metrics.
        trail: the audit trail; None for none.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        sources: Mapping[str, Metrics],
        events: Events,
        clock: Clock,
        telemetry: Telemetry,
        profiles: Mapping[str, Profile],
        mode: Callable[[], str],
        pace: Pace,
        namespaces: tuple[str, ...] | None = None,
        rule_metrics: RuleMetrics = "notNormal",
        trail: Trail | None = None,
    ) -> None:
        self._clock, self._cluster, self._telemetry, self._mode, self._pace = clock, cluster, telemetry, mode, pace
        self._sources, self._profiles = sources, profiles
        self.store = Store()
        self.queue: Queue[Key] = Queue(
            self._run,
            metrics=telemetry.queue("objects"),
            jitter=pace.jitter,
            workers=pace.workers,
            patient=lambda key: key.kind != PROMPT.kind,  # what applications are served comes first
        )
        self.trail = trail or NoTrail()
        self._applier = Applier(cluster, events, self.store, telemetry, self.wake, self.trail)
        self._companions = Companions(cluster, self.store, self._applier, telemetry, Known(profiles, sources))
        self.rules = RuleClock(
            *(sources, profiles, clock),
            wake=self._wake_prompt,
            telemetry=telemetry,
            namespaces=namespaces,
            tick=timedelta(seconds=pace.tick),
            explain=rule_metrics == "all",
        )
        self._neighbours = Neighbours(self.store, self.rules, cluster)
        self._causes = CommonCauses(telemetry)
        self.freezing = Freezing(sources, profiles, clock, self._wake_prompt)
        self._namespaces = namespaces
        telemetry.registry.register(RuleGauges(self.rules.snapshots, rule_metrics))
        telemetry.observe_store({kind: table.__len__ for kind, table in self.store.tables.items()})
        self._failures: dict[Key, int] = {}
        self._ticked_at = clock.monotonic()
        self._changed: dict[Key, float] = {}
        """Monotonic instant of the change a key was woken for, to measure projection."""

    @property
    def late(self) -> float:
        """Seconds by which the last whole tick of the rules is overdue, 0 while it is not."""
        since = self._clock.monotonic() - self._ticked_at
        return max(since - 3 * self._pace.tick, 0.0)

    # --- what wakes

    def observe(self, kind: Kind, manifest: Manifest, *, deleted: bool = False) -> None:
        """Take in a watch event and wake what it concerns."""
        if deleted:
            metadata = manifest["metadata"]
            keys = self._forget(kind, metadata, metadata["resourceVersion"])
        else:
            keys = self._take_in(kind, manifest)
        if keys and keys[-1].kind == PROMPT.kind:
            self._changed.setdefault(keys[-1], self._clock.monotonic())
        self.wake(keys)

    def _take_in(self, kind: Kind, manifest: Manifest) -> tuple[Key, ...]:
        """Take in an object; one that this release cannot read is left alone, and keeps nobody else from being served.

        It was written under other CRDs, as by a newer release before a downgrade.
        """
        try:
            return self.store.observe(kind, manifest)
        except (KeyError, TypeError, ValueError) as error:
            metadata = manifest["metadata"]
            name, why = f"{kind.kind} {metadata['namespace']}/{metadata['name']}", type(error).__name__  # no content
            _log.error("%s was written under other CRDs than this release's, and is left alone (%s)", name, why)
            return ()

    def _forget(self, kind: Kind, metadata: Mapping[str, Any], resource_version: str = "") -> tuple[Key, ...]:
        """Take in that an object is gone; that of a policy changes what is in force, and is told."""
        namespace, name, uid = (metadata[key] for key in ("namespace", "name", "uid"))
        keys = self.store.forget(kind, namespace, name, uid, resource_version)
        if keys and kind == PROMPT_POLICY and self.trail.audited is not None:
            self.trail.offer(policy_deleted(namespace, name, uid, self._clock.now()))
        return keys

    def wake(self, keys: Iterable[Key]) -> None:
        """Have these keys run."""
        for key in keys:
            delay = self._companions.delay(key)
            if delay:
                self.queue.wake_at(key, asyncio.get_running_loop().time() + delay)
            else:
                self.queue.wake(key)

    def wake_all(self) -> None:
        """Have everything looked at again: the operator-wide mode changed."""
        for kind in (PROMPT, PROMPT_VERSION, PROMPT_POLICY, EXPERIMENT):
            self.wake([Key(kind.kind, *name) for name, _ in self.store.names(kind)])

    def wake_audited(self) -> None:
        """Have all looked at that the trail tells of: now it is known what it holds, or it has room again."""
        for kind in (PROMPT, PROMPT_POLICY):
            self.wake([Key(kind.kind, *name) for name, _ in self.store.names(kind)])

    def _wake_prompt(self, name: Name) -> None:
        self.queue.wake(Key(PROMPT.kind, *name))

    # --- one run

    async def _run(self, key: Key) -> float | None:
        if self._mode() == Mode.FROZEN:
            return None
        if key.kind != PROMPT.kind:
            await self._companions.run(key, self._clock.now())
            return None
        return await self._reconcile(key)

    async def _reconcile(self, key: Key) -> float | None:
        name = Name(key.namespace, key.name)
        record = self.store.prompts.get(name)
        if record is None:
            self._let_go(key, name)
            return None
        try:
            facts = gather(self.store, name, record, self.rules.readings(name), self._surroundings())
            facts = replace(facts, normal=self.freezing.found(name), audited=self.trail.audited)
        except ValidationError as error:
            raise GiveUp(
                f"{key}: written under another CRD than this release's ({error.error_count()} problems)"
            ) from error
        try:
            facts, plan = await self._decided(facts)
            with self._neighbours.counting(name, plan, self._clock.now()):
                await self._applier.apply(facts.prompt, plan.effects)
        except Terminating as error:
            _log.debug("%s: %s", key, error)
            return None  # the watch tells of the end of each object
        except (Retry, GiveUp) as error:
            if isinstance(error, NotFound) and not isinstance(error, UnknownKind):
                _log.debug("%s: %s", key, error)
                return _VANISHED
            await self._tell_trouble(key, facts, error)
            raise
        self._done(key, name, facts, plan)
        return self._seconds_until(plan.wake_at)

    async def _decided(self, facts: Facts) -> tuple[Facts, Plan]:
        facts, plan = self._decide(facts)
        asked: set[str] = set()
        while plan.read_content_of:  # a second time when what was read cannot be projected
            if plan.read_content_of in asked:
                raise Conflict(
                    f"PromptVersion {facts.prompt.metadata.name}-{plan.read_content_of} went away while it was read"
                )
            asked.add(plan.read_content_of)
            facts, plan = self._decide(await read_content(self._cluster, self.store.texts, facts, plan.read_content_of))
        return facts, plan

    def _decide(self, facts: Facts) -> tuple[Facts, Plan]:
        """Decide on what is known of the other prompts at this very moment."""
        now = self._clock.now()
        facts = replace(facts, elsewhere=self._neighbours.of(facts.readings, now))
        return facts, reconcile(facts, now)

    def _done(self, key: Key, name: Name, facts: Facts, plan: Plan) -> None:
        self._failures.pop(key, None)
        if plan.common_cause is not None:
            self._causes.note(plan.common_cause, self._clock.now())
        written = [effect.status for effect in plan.effects if isinstance(effect, WriteStatus)]
        status = written[-1] if written else facts.prompt.status
        since = self._changed.pop(key, None)
        if since is not None and facts.prompt.status.projection != status.projection:
            self._telemetry.projection_latency.observe(self._clock.monotonic() - since)
        self._watch(name, replace(facts, prompt=facts.prompt.model_copy(update={"status": status})))

    def _watch(self, name: Name, facts: Facts) -> None:
        status = facts.prompt.status
        self.freezing.want(name, to_freeze(status, facts.policy.rules), facts.policy)
        if not status.active_version or effective_mode(facts) != "Active":
            self.rules.forget(name)
            return
        version = facts.versions.get(status.active_version)
        baselines = baselines_of(status, version.expectations if version else (), self.freezing.missing(name))
        self.rules.watch(
            *(name, status.active_version, status.activated_at, facts.policy, baselines, status.rules),
            explained=any(record.executed and not record.outcome for record in facts.records),
        )

    def _let_go(self, key: Key, name: Name) -> None:
        self.rules.forget(name)
        self.freezing.forget(name)
        self._failures.pop(key, None)
        self._changed.pop(key, None)

    async def _tell_trouble(self, key: Key, facts: Facts, error: Retry | GiveUp) -> None:
        """Let status tell of trouble that lasts; a conflict only means that the next look decides on newer facts."""
        if isinstance(error, Conflict):
            return
        self._failures[key] = self._failures.get(key, 0) + 1
        record = self.store.prompts.get(Name(key.namespace, key.name))
        passing = isinstance(error, Retry) and self._failures[key] < _TROUBLE_AFTER
        if passing or record is None:
            return
        current = replace(facts, prompt=record.parsed())
        status = troubled(current, f"what was projected stays; will be tried again: {error}", self._clock.now())
        if status is None:
            return
        try:
            await self._applier.apply(current.prompt, (WriteStatus(status),))
        except (Retry, GiveUp) as second:
            _log.debug("%s: could not write status either: %s", key, second)

    def _surroundings(self) -> Surroundings:
        lags = {name: source.lag for name, source in self._sources.items()}
        return Surroundings(self._mode(), timedelta(seconds=max(3 * self._pace.tick, 60.0)), self._profiles, lags)

    def _seconds_until(self, instant: datetime | None) -> float | None:
        return None if instant is None else max((instant - self._clock.now()).total_seconds(), 0.0) + 0.01

    # --- the loops beside

    def measuring(self) -> tuple[Coroutine[None, None, None], ...]:
        """Return the loops that ask metric sources; none without a source."""
        return (self.tick_forever(), self.freezing.forever(self._pace.tick)) if self._sources else ()

    async def tick(self, due: datetime | None = None) -> None:
        """Judge the rules, as of a due instant or now; what no guard named for a while is over."""
        await self.rules.tick(due)
        self._causes.keep(self._clock.now())

    async def tick_forever(self) -> None:
        """Judge the rules once per tick, as of its due instant; a tick that takes too long skips the next one."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._pace.tick * self._pace.jitter()
        while True:
            await asyncio.sleep(max(due - loop.time(), 0.0))
            late = max(loop.time() - due, 0.0)
            self._telemetry.tick_lag.set(late)
            try:
                await self.tick(self._clock.now() - timedelta(seconds=late))
            except Exception:  # noqa: BLE001  one bad tick must not end the clock
                _log.exception("a tick of the rules failed; they keep their state, the next tick tries again")
            else:
                self._ticked_at = self._clock.monotonic()
            passed = max(1, int((loop.time() - due) // self._pace.tick) + 1)
            self._telemetry.ticks_skipped.inc(passed - 1)
            due += self._pace.tick * passed

    async def sweep_forever(self, kinds: Iterable[tuple[Kind, str]]) -> None:
        """Repair what a gap in a watch lost: list everything now and then, take it in, drop what is gone.

        Args:
            kinds: each kind and the label selector its watch uses.

        Raises:
            WentBack: the API server was restored to an earlier state.
        """
        kinds = tuple(kinds)
        # What was deleted after the store was filled and before the watches began is in no watch.
        await asyncio.sleep(min(_WATCHES_BEGIN, self._pace.sweep))
        await self._sweep_all(kinds, metadata_only=True)
        while True:
            await asyncio.sleep(self._pace.sweep * (0.75 + self._pace.jitter() / 2))
            await self._sweep_all(kinds)

    async def _sweep_all(self, kinds: Iterable[tuple[Kind, str]], *, metadata_only: bool = False) -> None:
        for kind, labels in kinds:
            try:
                await self.sweep(kind, labels, metadata_only=metadata_only)
            except (Retry, GiveUp) as error:
                _log.warning("sweep of %s: %s; the next sweep tries again", kind.plural, error)

    async def sweep(self, kind: Kind, labels: str = "", *, metadata_only: bool = False) -> None:
        """Compare the store with the API server for one kind; with `metadata_only` just drop what is gone.

        Raises:
            WentBack: what is known is not true any more, and nothing would ever tell what is.
        """
        known, found = dict(self.store.names(kind)), set()
        for namespace in self._namespaces or (None,):
            async for manifest in self._cluster.list(
                kind, namespace=namespace, labels=labels, metadata_only=metadata_only
            ):
                found.add(manifest["metadata"]["uid"])
                await self._expect_no_older(kind, manifest["metadata"])
                if not metadata_only:
                    self.observe(kind, manifest)
        for name, uid in known.items():
            if uid not in found:
                self.wake(self._forget(kind, {**name._asdict(), "uid": uid}))

    async def _expect_no_older(self, kind: Kind, listed: Mapping[str, Any]) -> None:
        """See that the server is not behind what it told before; a page of a list may be older than the watch."""
        known = self.store.newer(kind, listed)
        if not known:
            return
        try:
            present = (await self._cluster.get(kind, listed["namespace"], listed["name"]))["metadata"]
        except NotFound:
            return
        if present["uid"] == listed["uid"] and int(present["resourceVersion"]) < known:
            told = f"{kind.kind} {listed['namespace']}/{listed['name']} was at resourceVersion {known}"
            raise WentBack(f"{told} and is at {present['resourceVersion']}")
