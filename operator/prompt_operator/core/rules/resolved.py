"""The query behind a value, for one version of one prompt: for people to paste into Prometheus.

The operator asks grouped queries about all prompts at once and divides by itself; this is the same for one of them, as
one expression. It gives the value that was judged, not its bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.rules import tenantql
from prompt_operator.core.rules.measure import needs_of
from prompt_operator.core.rules.metrics import CustomSeries, Given, Mean, Quantile, Quantity, Share, Slower, Total
from prompt_operator.core.rules.promql import unmeasured
from prompt_operator.core.rules.recording import RECORDED_FROM, counts, grouping, increases
from prompt_operator.core.rules.syntax import comparisons, metric_refs
from prompt_operator.core.rules.units import format_window

if TYPE_CHECKING:
    from datetime import timedelta

    from prompt_operator.core.rules.measure import Identity
    from prompt_operator.core.rules.metrics import Metric, Series
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.profile import Profile, Source


def resolved(profile: Profile, metric: Metric, window: timedelta, version: Identity) -> str:
    """Return the query that gives a metric's value; empty where the profile does not measure it."""
    if unmeasured(profile, needs_of(metric, window)):
        return ""
    return _Writer(profile, window, version).value(metric)


def queries_of(profile: Profile, rule: Rule, version: Identity) -> tuple[str, ...]:
    """Return the queries for what a rule's condition names, each once; none for what the profile does not measure."""
    refs = (ref for comparison in comparisons(rule.condition.predicate) for ref in metric_refs(comparison))
    found = (resolved(profile, rule.metrics[ref.name], ref.window or rule.window, version) for ref in refs)
    return tuple(dict.fromkeys(query for query in found if query))


class _Writer:
    def __init__(self, profile: Profile, window: timedelta, version: Identity) -> None:
        self.profile, self.window, self.version = profile, window, version

    def value(self, metric: Metric) -> str:
        match metric.formula:
            case Total(plus, minus):
                return " - ".join([self.added(plus), *map(self.series, minus)])
            case Share(events, total, complement):
                share = f"{self.series(events)} / {self.series(total)}"
                return f"1 - {share}" if complement else share
            case Mean(sums, count):
                added = self.added(sums)
                return f"{added if len(sums) == 1 else f'({added})'} / {self.series(count)}"
            case Given(series):
                return self.series(series)
            case Quantile(buckets, q):
                source = self.profile.quantities[buckets]
                return _scaled(f"histogram_quantile({q}, {self.counted(buckets, source)})", source)

            case Slower(buckets, bound):  # exact at a bucket bound, interpolated between two
                source = self.profile.quantities[buckets]
                return f"1 - histogram_fraction(0, {bound / source.scale:.10g}, {self.counted(buckets, source)})"

    def added(self, several: tuple[Series, ...]) -> str:
        return " + ".join(map(self.series, several))

    def series(self, series: Series) -> str:
        """Return one quantity as a factor: in brackets where it has to be."""
        if isinstance(series, CustomSeries):
            _, prompt, version = self.version
            query = tenantql.read(series.template)
            text = query.promql(self.profile.identity, series.namespace, self.window, prompt=prompt, version=version)
            return f"({text})"
        source = self.profile.quantities[series]
        text = _scaled(self.counted(series, source), source)
        if source.absent == "zero":
            return f"({text} or {self.series(Quantity.REQUESTS)} * 0)"
        return text

    def counted(self, quantity: Quantity, source: Source) -> str:
        """Return the increase of one quantity; over long windows, the sum of what was recorded of it."""
        namespace, prompt, version = ([each] for each in self.version)
        if self.window >= RECORDED_FROM:
            text = counts(self.profile, source, quantity.value, self.window, namespace, prompt, version)
        else:
            text = increases(self.profile, source, namespace, f"[{format_window(self.window)}]", prompt, version)
        # Of one version alone its labels say nothing, and without them the query is half as long.
        increase = text.removeprefix(f"sum by ({grouping(self.profile, source)}) ")
        return f"sum by (le) {increase}" if source.histogram else f"sum{increase}"


def _scaled(text: str, source: Source) -> str:
    return text if source.scale == 1 else f"{text} * {source.scale:g}"
