"""Judge the built-in rules of many prompts against a Prometheus, tick by tick, in this process alone: JSON of figures.

It runs the operator's own rule clock and its own client of Prometheus, with nothing around them, so that processor time
and memory are theirs. Whom the clock would wake to write something is only counted.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from devcluster.bench.places import places
from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.prometheus import PrometheusMetrics
from prompt_operator.api.prompt import PromptSpec
from prompt_operator.collector import spare_full_passes
from prompt_operator.core.policy import effective
from prompt_operator.core.rules.baseline import of_values
from prompt_operator.engine.ruleclock import RuleClock
from prompt_operator.engine.store import Name
from prompt_operator.ports import DEFAULT_SOURCE, Sample
from prompt_operator.sources import Source
from prompt_operator.telemetry import Telemetry

_PROBE = 0.005  # seconds


@dataclass
class Counted:
    """A source of metrics that counts what it is asked."""

    inner: PrometheusMetrics
    queries: int = 0
    samples: int = 0

    @property
    def lag(self) -> timedelta:
        """As the source has it."""
        return self.inner.lag

    async def query(self, promql: str, at: datetime) -> list[Sample]:
        """Ask, and count."""
        answer = await self.inner.query(promql, at)
        self.queries += 1
        self.samples += len(answer)
        return list(answer)


@dataclass
class Stalls:
    """How long other work on the event loop had to wait."""

    longest: float = 0.0

    async def watch(self) -> None:
        """Measure until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_PROBE)
            self.longest = max(self.longest, time.monotonic() - began - _PROBE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--prometheus-pid", type=int, required=True)
    for name in ("prompts", "namespaces", "ticks", "tick"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    spare_full_passes()
    json.dump(asyncio.run(_measure(options)), sys.stdout)


async def _measure(options: argparse.Namespace) -> dict[str, object]:
    metrics, woken, clock = (
        Counted(PrometheusMetrics(Source(name=DEFAULT_SOURCE, url=options.prometheus))),
        list[Name](),
        SystemClock(),
    )
    empty = _resident()
    rules = RuleClock({DEFAULT_SOURCE: metrics}, load_profiles(), clock, wake=woken.append, telemetry=Telemetry())
    policy, since = effective(PromptSpec(version="1.0.0"), None, "bench-0"), clock.now() - timedelta(hours=1)
    for namespace, name in places(options.prompts, options.namespaces):
        rules.watch(Name(namespace, name), "1.0.0", since, policy, of_values({"latency_p95": 2.0}), ())
    stalls, ticks, began = Stalls(), [], time.monotonic()
    probe = asyncio.create_task(stalls.watch())
    for number in range(options.ticks):
        await asyncio.sleep(max(began + number * options.tick - time.monotonic(), 0))
        ticks.append(await _tick(rules, metrics, stalls, woken, options.prometheus_pid))
    probe.cancel()
    await metrics.inner.close()
    return {
        "rules": len(policy.rules),
        "empty_mib": empty,
        "peak_mib": _peak(),
        "failing": sorted(rules.outages.failing),
        "ticks": ticks,
    }


async def _tick(
    rules: RuleClock, metrics: Counted, stalls: Stalls, woken: list[Name], prometheus: int
) -> dict[str, float]:
    metrics.queries, metrics.samples, stalls.longest = 0, 0, 0.0
    woken.clear()
    wall, own, theirs = time.monotonic(), time.process_time(), _cpu_of(prometheus)
    await rules.tick()
    return {
        "queries": metrics.queries,
        "samples": metrics.samples,
        "wall_s": round(time.monotonic() - wall, 2),
        "operator_cpu_s": round(time.process_time() - own, 2),
        "prometheus_cpu_s": round(_cpu_of(prometheus) - theirs, 2),
        "longest_stall_ms": round(stalls.longest * 1000),
        "rss_mib": _resident(),
        "woken": len(woken),
    }


def _cpu_of(pid: int) -> float:
    """Return the processor seconds of another process."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


if __name__ == "__main__":
    main()
