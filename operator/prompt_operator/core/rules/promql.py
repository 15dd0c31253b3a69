"""From needs to grouped PromQL queries, and from their answers to readings.

One query brings one quantity over one window for all versions of all prompts (of some namespaces); ratios and
quantiles are computed here, because only counts say how much evidence there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol, TypeAlias

from prompt_operator.core.rules import tenantql
from prompt_operator.core.rules.measure import Amount, Histogram, Identity, Measured, Need, Unusable
from prompt_operator.core.rules.metrics import OPTIONAL, CustomSeries, Quantity
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.recording import ENOUGH, RECORDED_FROM, expected, increases, recorded
from prompt_operator.core.rules.units import format_window

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from prompt_operator.core.rules.profile import IdentityLabels, Profile, Source


class Element(Protocol):
    """One element of an instant vector (`ports.Sample`)."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Label name -> value."""
        ...

    @property
    def value(self) -> float:
        """The value, which may be NaN or infinite."""
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """One instant query, what it answers, and how its answer is read."""

    promql: str
    need: Need
    identity: IdentityLabels
    scale: float
    recorded: bool = False
    """It reads recorded series, and its answer says how often they were written."""


Answer: TypeAlias = "dict[Identity, Measured] | Unusable"
"""What a query said: of each version it had series for, or nothing that can be used."""


def queries(
    profile: Profile,
    needs: Iterable[Need],
    namespaces: Sequence[str] | None,
    prompts: Sequence[str] | None = None,
) -> tuple[Query, ...]:
    """Return one query per need that the profile measures, restricted to namespaces (None: all), in a fixed order.

    `prompts` restricts them further, to prompts of these names. The queries of custom metrics come last, each
    restricted to the namespace of its policy alone.
    """
    needs = set(needs)
    sources = {need: source for need in needs if (source := _source(profile, need)) is not None}
    return (
        *(_query(profile, need, sources[need], namespaces, prompts) for need in sorted(sources)),
        *_custom_queries(profile, needs),
    )


def _custom_queries(profile: Profile, needs: Iterable[Need]) -> Iterator[Query]:
    custom = sorted((need.quantity, need.window) for need in needs if isinstance(need.quantity, CustomSeries))
    return (_custom_query(profile, series, window) for series, window in custom)


def _custom_query(profile: Profile, series: CustomSeries, window: timedelta) -> Query:
    promql = tenantql.read(series.template).promql(profile.identity, series.namespace, window)
    return Query(promql, Need(series, window), profile.identity, scale=1.0)


def queries_of(profile: Profile, needs: Iterable[Need], versions: Collection[Identity]) -> tuple[Query, ...]:
    """Return one query per need about these versions of prompts alone, in a fixed order.

    Few versions are cheap to read, so raw samples are, over any window. An answer may hold other pairs of a prompt and
    a version than those asked for. The queries of custom metrics come last; each is about its whole namespace.
    """
    needs = set(needs)
    names = [sorted(set(each)) for each in zip(*versions, strict=True)]
    sources = {need: source for need in needs if (source := _source(profile, need)) is not None}
    raw = ((need, sources[need], _raw(profile, sources[need], need, names)) for need in sorted(sources))
    return (
        *(Query(text, need, profile.identity, source.scale) for need, source, text in raw),
        *_custom_queries(profile, needs),
    )


def _raw(profile: Profile, source: Source, need: Need, names: Sequence[Sequence[str]]) -> str:
    namespaces, prompts, versions = names
    return increases(profile, source, namespaces, f"[{format_window(need.window)}]", prompts, versions)


def _source(profile: Profile, need: Need) -> Source | None:
    return profile.quantities.get(need.quantity) if isinstance(need.quantity, Quantity) else None


def _query(
    profile: Profile, need: Need, source: Source, namespaces: Sequence[str] | None, prompts: Sequence[str] | None
) -> Query:
    if need.window >= RECORDED_FROM:
        promql = recorded(profile, source, str(need.quantity), namespaces, need.window, prompts)
        return Query(promql, need, profile.identity, source.scale, recorded=True)
    promql = increases(profile, source, namespaces, f"[{format_window(need.window)}]", prompts)
    return Query(promql, need, profile.identity, source.scale)


def absorb(query: Query, samples: Iterable[Element]) -> Answer:
    """Sort an answer by version.

    NaN, infinite and negative values, and two series for one version, make that version's measurement unusable: no
    value is ever chosen among several. A series without the labels that were asked for makes the whole answer
    unusable, since then it is not an answer to this query. So does a recording that does not cover the window.
    """
    if query.recorded:
        samples, gap = _covered(query.need.window, samples)
        if gap is not None:
            return gap
    return _sorted(query, samples, by_bucket=query.need.quantity is Quantity.LATENCY_BUCKETS)


def _sorted(query: Query, samples: Iterable[Element], *, by_bucket: bool) -> Answer:
    """Sort samples by version, and bucket. There may be a hundred thousand: each costs a few look-ups and no more."""
    names = query.identity
    labels_of = itemgetter(names.namespace, names.prompt, names.version, *(["le"] if by_bucket else []))
    found: dict[tuple[str, ...], dict[str, float]] = {}
    twice: set[tuple[str, ...]] = set()
    for sample in samples:
        try:
            labels = labels_of(sample.labels)
        except KeyError:
            labels = ("",)
        if not all(labels):
            return Unusable(Reason.INCONSISTENT, f"a series lacks labels that were asked for: {dict(sample.labels)}")
        identity, bound = (labels[:3], labels[3]) if by_bucket else (labels, "")
        values = found.get(identity)
        if values is None:
            if _is_foreign(query.need, Identity(*identity)):
                return Unusable(Reason.INCONSISTENT, "the answer holds a series of another namespace")
            found[identity] = {bound: sample.value}
        elif bound in values:
            twice.add(identity)
        else:
            values[bound] = sample.value
    read = _histogram if by_bucket else _amount
    answer = {Identity(*identity): read(values, query.scale) for identity, values in found.items()}
    several = Unusable(Reason.DUPLICATE_SERIES, "several series where one was asked for")
    return answer | {Identity(*identity): several for identity in twice}


def _covered(window: timedelta, samples: Iterable[Element]) -> tuple[list[Element], Unusable | None]:
    """Take out how often the series were written, the element without labels; say so where that is not enough."""
    told = list(samples)
    runs, wanted = [sample.value for sample in told if not sample.labels], expected(window)
    versions = [sample for sample in told if sample.labels]
    if not runs:
        return versions, Unusable(Reason.NOT_RECORDED)
    if runs[0] >= wanted * ENOUGH:
        return versions, None
    return versions, Unusable(Reason.RECORDED_IN_PART, f"{ENOUGH:.0%} of the window have to be")


def _amount(values: Mapping[str, float], scale: float) -> Measured:
    (value,) = values.values()
    return Amount(value * scale) if 0 <= value < inf else _defect(value)


def _is_foreign(need: Need, identity: Identity) -> bool:
    """Tell whether a need is another namespace's own metric."""
    return isinstance(need.quantity, CustomSeries) and need.quantity.namespace != identity.namespace


def _defect(value: float) -> Unusable:
    return Unusable(Reason.NOT_A_NUMBER, f"value {value}")


def _histogram(values: Mapping[str, float], scale: float) -> Measured:
    """Bounds may be spelled in two ways by two client libraries (1 and 1.0): their counts belong together."""
    counts: dict[float, float] = {}
    for text, count in values.items():
        if not 0 <= count < inf:
            return _defect(count)
        bound = _bound(text)
        if bound is None:
            return Unusable(Reason.INCONSISTENT, f"bucket bound {text!r}")
        bound *= scale
        counts[bound] = counts.get(bound, 0.0) + count
    return Histogram(tuple(_smoothed(sorted(counts.items()))))


@lru_cache(maxsize=1024)
def _bound(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_NOISE = 1e-6
"""Relative; sums of floats in another order differ by less."""


def _smoothed(buckets: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Take out rounding noise, by which a cumulative count may fall; a real fall stays and is judged inconsistent."""
    highest = 0.0
    for bound, count in buckets:
        if count > highest or count < highest * (1 - _NOISE):
            highest = count
        yield bound, highest


def reading(profile: Profile, identity: Identity, answers: Mapping[Need, Answer]) -> dict[Need, Measured]:
    """Collect what the answers say of one version; a need that is absent from the result has no series.

    Where the profile says so, errors without a series are zero, provided that the requests of that window are there.
    """
    result = {need: found for need, answer in answers.items() if (found := _of(need, answer, identity)) is not None}
    for need in answers:
        source = _source(profile, need)
        if need not in result and source is not None and _is_zero(source, need, result):
            result[need] = Amount(0.0)
    return result


def _of(need: Need, answer: Answer, identity: Identity) -> Measured | None:
    if isinstance(answer, Unusable):
        return None if _is_foreign(need, identity) else answer
    return answer.get(identity)


def _is_zero(source: Source, need: Need, found: Mapping[Need, Measured]) -> bool:
    return source.absent == "zero" and isinstance(found.get(Need(Quantity.REQUESTS, need.window)), Amount)


def unmeasured(profile: Profile, needs: Iterable[Need]) -> dict[Need, Unusable]:
    """Return the needs that a profile cannot serve, as what a rule is told of them: it stays unknown, and says why."""
    return {
        need: Unusable(Reason.NOT_MEASURED, f"profile {profile.name} has no {need.quantity.value}")
        for need in needs
        if isinstance(need.quantity, Quantity) and need.quantity not in OPTIONAL and _source(profile, need) is None
    }
