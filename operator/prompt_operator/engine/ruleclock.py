"""The one clock of all rules: a few grouped queries per tick, verdicts and streaks in memory, a wake on a transition.

Nothing here writes. What a rule means for its prompt is decided by the reconcile that the clock wakes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from prompt_operator.engine.inquiry import Asked, Inquiry, Slots, Tally
from prompt_operator.engine.outages import Outages
from prompt_operator.engine.shared import Shared
from prompt_operator.engine.store import Name
from prompt_operator.engine.watched import Round, Watched
from prompt_operator.ports import DEFAULT_SOURCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from datetime import datetime

    from prompt_operator.api.promptstatus import RuleStatus
    from prompt_operator.core.facts import Readings
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.rules.baseline import Baselines
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.ports import Clock, Metrics
    from prompt_operator.telemetry import Telemetry

_log = logging.getLogger(__name__)

_BREATH = 50  # prompts judged before other work gets a turn on the event loop: some 5 ms


class RuleClock:
    """Judges the rules of every watched prompt once per tick.

    Args:
        sources: where queries go, by name; rules of a prompt whose source is not among them stay unknown.
        profiles: metric profiles by name.
        clock: the clocks.
        wake: called with the name of a prompt whose rules need a decision.
        telemetry: counts and times of queries, tick times.
        namespaces: the namespaces looked after; None means all.
        tick: time between two ticks.
        explain: keep the figures of all rules, also of those that are well.
    """

    def __init__(
        self,
        sources: Mapping[str, Metrics],
        profiles: Mapping[str, Profile],
        clock: Clock,
        *,
        wake: Callable[[Name], None],
        telemetry: Telemetry,
        namespaces: tuple[str, ...] | None = None,
        tick: timedelta = timedelta(seconds=15),
        explain: bool = False,
    ) -> None:
        self._sources, self._profiles, self._clock = sources, profiles, clock
        self._wake, self._telemetry, self._namespaces, self._tick = wake, telemetry, namespaces, tick
        self._explain = explain
        self._watched: dict[Name, Watched] = {}
        self._inquiries: dict[Asked, Inquiry] = {}
        self._arranged = True
        self._faulty: set[Name] = set()
        """Prompts whose rules could not be judged at the last look, by a fault of ours."""
        self.outages = Outages(telemetry)
        self.judged_at: datetime | None = None
        """When the prompts of a source were judged the last time."""

    def watch(
        self,
        name: Name,
        version: str,
        activated_at: datetime | None,
        policy: Effective,
        baselines: Baselines,
        remembered: tuple[RuleStatus, ...],
        *,
        explained: bool = False,
    ) -> None:
        """Judge this version from the next tick on; the same activation keeps its streaks.

        Args:
            name: the prompt.
            version: its active version.
            activated_at: since when.
            policy: the policy in force.
            baselines: what is normal.
            remembered: the states that status remembers of this version's rules.
            explained: the figures of its rules are wanted even while they are well.
        """
        known = self._watched.get(name)
        if known is None or (known.version, known.activated_at) != (version, activated_at):
            known = self._watched[name] = Watched(version, activated_at, policy, baselines)
            known.remember(remembered, self._clock.now())
            self._arranged = False
        elif known.policy != policy:
            self._arranged &= _asked(known.policy) == _asked(policy)
            known.adopt(policy)
        known.baselines = baselines
        known.explained = self._explain or explained

    def forget(self, name: Name) -> None:
        """Judge this prompt no longer."""
        if self._watched.pop(name, None) is not None:
            self._arranged = False
        if name in self._faulty:
            self._faulty.discard(name)
            self._telemetry.issues.over(_subject(name), self._clock.now())

    def readings(self, name: Name) -> Readings | None:
        """Return what is known of a prompt's rules; None before the first tick."""
        watched = self._watched.get(name)
        return watched.snapshot() if watched is not None else None

    def snapshots(self) -> Iterator[tuple[Name, Readings]]:
        """Yield what is known of every watched prompt that was judged."""
        for name, watched in self._watched.items():
            readings = watched.snapshot()
            if readings is not None:
                yield name, readings

    async def tick(self, due: datetime | None = None) -> None:
        """Ask what is due, judge every watched prompt, wake those that need a decision.

        Args:
            due: the instant of the tick on its regular grid, for which everything is asked; None means now.
        """
        began, now = self._clock.monotonic(), due or self._clock.now()
        if not self._arranged:
            self._arrange()
        sources = defaultdict[str, list[Inquiry]](list)
        for asked, inquiry in self._inquiries.items():
            sources[asked.source].append(inquiry)
        async with asyncio.TaskGroup() as group:
            for source, inquiries in sources.items():
                group.create_task(self._judge(source, inquiries, now))
        self.outages.keep(sources, now)
        self._telemetry.tick_duration.observe(self._clock.monotonic() - began)

    def _arrange(self) -> None:
        """Sort the watched prompts by whom they ask."""
        self._arranged = True
        groups = defaultdict[Asked, list[tuple[Name, Watched]]](list)
        for name, watched in self._watched.items():
            groups[_asked(watched.policy)].append((name, watched))
        self._inquiries = {asked: self._inquiries.get(asked) or self._inquiry(asked) for asked in groups}
        for asked, members in groups.items():
            self._inquiries[asked].arrange(members)

    def _inquiry(self, asked: Asked) -> Inquiry:
        metrics, profile = self._sources.get(asked.source), self._profiles.get(asked.profile)
        return Inquiry(
            asked,
            metrics,
            profile,
            self._clock,
            self._telemetry,
            namespaces=self._namespaces,
            tick=self._tick,
        )

    async def _judge(self, source: str, inquiries: list[Inquiry], now: datetime) -> None:
        """Judge all prompts of one source, each shard as soon as its answers are there.

        They are woken together, when all of them are judged: a guard that looks at the others has to see all of them.
        """
        shared, slots, tally = Shared(now - inquiries[0].lag, self._tick), Slots(), Tally()
        async with asyncio.TaskGroup() as group:
            asked = (
                self._judge_shard(inquiry.asked, shard.members, inquiry.ask(shard, now, shared, slots, tally))
                for inquiry in inquiries
                for shard in inquiry.shards.values()
            )
            shards = [group.create_task(each) for each in asked]
        self.outages.note(source, tally, now)
        self.judged_at = self._clock.now()
        for name in (name for shard in shards for name in shard.result()):
            self._wake(name)

    async def _judge_shard(
        self, asked: Asked, members: list[tuple[Name, Watched]], answers: Awaitable[Round]
    ) -> list[Name]:
        """Judge the prompts of a shard when its answers are there; return those that need a decision.

        Whoever was to be asked elsewhere in the meantime is judged by what comes from there.
        """
        answered, woken = await answers, []
        for position, (name, watched) in enumerate(members):
            if position % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            unchanged = self._watched.get(name) is watched and _asked(watched.policy) == asked
            if unchanged and watched.settled(answered.shared.at) and self._look(name, watched, answered):
                woken.append(name)
        return woken

    def _look(self, name: Name, watched: Watched, answered: Round) -> bool:
        """Judge one prompt; a fault of ours in its rules keeps nobody else's from being judged."""
        try:
            wake = watched.look(name, answered)
        except Exception as error:  # noqa: BLE001  whatever it is
            self._note_fault(name, error, answered.now)
            return False
        if name in self._faulty:
            self._faulty.discard(name)
            self._telemetry.issues.over(_subject(name), answered.now)
        return wake

    def _note_fault(self, name: Name, error: Exception, now: datetime) -> None:
        message = f"could not be judged, which is a fault of the operator: {error!r}"
        if self._telemetry.issues.seen(_subject(name), message, now):
            _log.exception("%s %s. They keep their state and grow old; all others are judged", _subject(name), message)
        self._faulty.add(name)


def _subject(name: Name) -> str:
    return f"rules of {name.namespace}/{name.name}"


def _asked(policy: Effective) -> Asked:
    return Asked(policy.source or DEFAULT_SOURCE, policy.profile)
