"""What a rule needs to know, and the forms in which it can be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from prompt_operator.core.rules.metrics import Quantity, Series, quantities
from prompt_operator.core.rules.syntax import comparisons, metric_refs

if TYPE_CHECKING:
    from datetime import timedelta

    from prompt_operator.core.rules.metrics import Metric
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.reasons import Reason


class Identity(NamedTuple):
    """Whose measurements: one version of one prompt."""

    namespace: str
    prompt: str
    version: str


class Need(NamedTuple):
    """One quantity or custom series over one window: shared by all rules and prompts that ask for it."""

    quantity: Series
    window: timedelta


@dataclass(frozen=True, slots=True)
class Amount:
    """The increase of a counter over the window; not negative, and fractional because Prometheus extrapolates.

    Samples s seconds apart cover s seconds less than the window, and `increase` stretches what they saw to all of it:
    at 15 s by 4/3 in 1m, by 20/19 in 5m, by 40/39 in 10m (measured). So a count claims a little more evidence than
    there was. It is not scaled back: the distance of the samples is not in the answer, and the confidence of a rollback
    has to leave room for it, as the simulated false alarms of docs/decisions/evidence-bounds.md do.
    """

    value: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """The increases of cumulative buckets over the window: (upper bound, count at or below), ascending, +Inf last."""

    buckets: tuple[tuple[float, float], ...]

    @property
    def count(self) -> float:
        """All observations."""
        return self.buckets[-1][1]


@dataclass(frozen=True, slots=True)
class Unusable:
    """An answer that was given but cannot be trusted."""

    reason: Reason
    detail: str = ""


Measured: TypeAlias = Amount | Histogram | Unusable


def needs(rule: Rule) -> frozenset[Need]:
    """Return what has to be pulled to judge a rule."""
    refs = {ref for comparison in comparisons(rule.condition.predicate) for ref in metric_refs(comparison)}
    return frozenset().union(*(needs_of(rule.metrics[ref.name], ref.window or rule.window) for ref in refs))


def needs_of(metric: Metric, window: timedelta) -> frozenset[Need]:
    """Return what has to be pulled to compute a metric over a window."""
    found = {Need(quantity, window) for quantity in quantities(metric)}
    # Whether absent errors are none at all can only be told from the requests.
    witnesses = {Need(Quantity.REQUESTS, need.window) for need in found if need.quantity is Quantity.ERRORS}
    return frozenset(found | witnesses)
