"""`./operator/dev bench`: every figure from the real operator process on a control plane of its own."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from devcluster import tools
from devcluster.bench import burst, latency, load, rollback, rules, table
from devcluster.bench.api import Api
from devcluster.bench.audit import AuditLog
from devcluster.bench.fleet import Fleet
from devcluster.bench.machine import load_average, machine
from devcluster.bench.places import places
from devcluster.controlplane import ControlPlane
from devcluster.demo.report import write
from devcluster.errors import DevError
from devcluster.http import get_json
from devcluster.operatorprocess import OperatorProcess
from devcluster.paths import REPO
from devcluster.progress import Progress, Stopwatch
from devcluster.prometheus import Prometheus

_TICK = 15  # seconds; the operator's default
_QUIET = 10.0  # seconds without a write, after which the operator counts as idle
_CALM_DEADLINE = 900.0  # seconds
_AGENT = "prompt-operator"
_ROLLBACKS = 20

METHOD = (
    "Control plane (etcd without fsync), Prometheus and operator on the same machine, on loopback; tick 15 s.",
    (
        "Latency: changes one after the other, 0.1 s apart, from before the server-side apply is sent until a watch"
        " shows the new version in the ConfigMap; the first two changes are not counted."
    ),
    (
        "Memory, CPU, API requests: the operator's own /metrics at the beginning and the end of the idle time, which"
        " begins after 10 s without a write. Requests of the watches, one per kind every few minutes, are not in it."
    ),
    "Writes: lines of the API server's audit log with the operator's user agent (every verb but get, list, watch).",
    (
        "All changed at once: the operator stands still (SIGSTOP) while all Prompts are changed to version 1.1.0; from"
        " letting it go until its last ConfigMap is written. The bare client has 16 writes under way, as it has."
    ),
    (
        "With traffic: applications export 17 series for each prompt, half a request a second; the idle time"
        " is measured once more when all prompts are Healthy."
    ),
    (
        "Rules: the operator's rule clock and its client of Prometheus in a process of their own, ten ticks of 15 s,"
        " all prompts with traffic and well, 13 built-in rules, a declared baseline; the first tick asks for all."
    ),
    "Restart: from starting the process; reconciled when its queue is empty.",
    (
        "Rollback on request, with everything loaded: 20, each of a version of its own; from before the PromptRollback"
        " is sent, and from when a watch shows the decision in status, until one shows the ConfigMap."
    ),
    (
        "Rollback by a rule: `./operator/dev demo --fast`, tick 2 s; of the time from the first failed answer 10 s are"
        " initialDelay, 4 s the rule's `for`."
    ),
)


@dataclass
class Bench:
    """One run: the servers, the operator, and what is measured on them."""

    plane: ControlPlane
    operator: OperatorProcess
    audit: AuditLog
    api: Api
    progress: Progress
    idle_seconds: int

    def latencies(self, changes: int, namespace: str, what: str) -> dict[str, float]:
        """Measure the time from apply to ConfigMap in a namespace of its own."""
        self.progress.say(f"{changes} changes of one prompt, {what}")
        load.make_namespace(self.api, namespace)
        return latency.summary(latency.Stopwatch(self.plane, self.api, namespace).measure(changes))

    def rollbacks(self, count: int, namespace: str) -> dict[str, dict[str, float]]:
        """Measure rollbacks that a person asks for, in a namespace of its own."""
        self.progress.say(f"{count} rollbacks of one prompt on request")
        load.make_namespace(self.api, namespace)
        asked, decided = rollback.measure(self.plane, self.api, namespace, count)
        return {"request_to_configmap_ms": latency.summary(asked), "decision_to_configmap_ms": latency.summary(decided)}

    def loading(self, prompts: int, versions: int) -> dict[str, float]:
        """Create everything while the operator runs, and wait until every prompt is served."""
        self.progress.say(f"creating {prompts:,} prompts and {versions:,} versions")
        for namespace in load.namespaces():
            load.make_namespace(self.api, namespace)
        clock = Stopwatch()
        load.fill(self.api, prompts, versions)
        created = clock.seconds
        self._until(lambda: self._count("serving") >= prompts, f"{prompts:,} prompts served")
        return {"created_s": round(created, 1), "all_projected_s": round(clock.seconds, 1)}

    def idle(self) -> dict[str, Any]:
        """Measure while nothing changes."""
        self.calm()
        self.progress.say(f"idle for {self.idle_seconds} s")
        self.audit.mark()
        before, began = self.operator.metrics(), time.monotonic()
        time.sleep(self.idle_seconds)
        after, minutes = self.operator.metrics(), (time.monotonic() - began) / 60
        writes = self.audit.writes()
        cpu = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
        requests = after["prompt_operator_api_requests_total"] - before["prompt_operator_api_requests_total"]
        return {
            "rss_mib": round(after["process_resident_memory_bytes"] / 2**20, 1),
            "cpu_percent": round(cpu / minutes / 60 * 100, 2),
            "api_requests_per_minute": round(requests / minutes, 1),
            "writes_per_minute": round(writes.total() / minutes, 1),
            "written": dict(writes),
        }

    def with_traffic(self, prometheus: Prometheus, prompts: int) -> dict[str, Any]:
        """Measure while applications serve every prompt and all are well: ticks that find nothing to tell."""
        self.progress.say(f"applications serve {prompts:,} prompts; waiting until all are Healthy")
        with Fleet(places(prompts, load.SPREAD)) as fleet:
            prometheus.set_targets(fleet.targets)
            self._until(lambda: self._count("healthy") >= prompts, f"{prompts:,} healthy prompts")
            return self.idle()

    def burst(self, prompts: int) -> dict[str, float]:
        """Change all prompts at once."""
        self.progress.say(f"{prompts:,} prompts are changed at once")
        figures = burst.measure(self.api, self.audit, self.operator.pid, prompts)
        self.calm()
        return figures

    def restart(self) -> dict[str, Any]:
        """Stop and start the operator with everything in place: nothing may be written."""
        self.progress.say("restarting the operator")
        self.operator.stop()
        self.audit.mark()
        clock = Stopwatch()
        self.operator.start()
        ready = clock.seconds
        self._until(self._reconciled, "an empty queue")
        reconciled = clock.seconds
        self.calm()
        writes = self.audit.writes()
        figures = {"ready_s": round(ready, 1), "reconciled_s": round(reconciled, 1), "writes": writes.total()}
        return {**figures, "written": dict(writes)}

    def calm(self) -> None:
        """Wait until the operator has written nothing for a while."""
        self.progress.say("waiting until nothing is written")
        log = AuditLog(self.plane.audit_log, _AGENT)
        log.mark()
        since = time.monotonic()

        def quiet() -> bool:
            nonlocal since
            if log.writes():
                since = time.monotonic()
                log.mark()
            return time.monotonic() - since > _QUIET

        self._until(quiet, "an operator that writes nothing")

    def _count(self, what: str) -> int:
        """Return how many prompts are serving, or healthy."""
        return int(get_json(f"{self.operator.url}/healthz")["prompts"][what])

    def _reconciled(self) -> bool:
        now = self.operator.metrics()
        busy = now.get("workqueue_depth", 0) + now.get("workqueue_unfinished_work_seconds", 0)
        return now.get("prompt_operator_reconcile_total", 0) > 0 and busy == 0

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _CALM_DEADLINE
        while not condition():
            if time.monotonic() > deadline:
                raise DevError(f"Within {_CALM_DEADLINE:.0f} s {what} did not come; {self._log()}")
            time.sleep(0.1)

    def _log(self) -> str:
        return f"the operator's last lines:\n{self.operator.processes.tail('operator')}"


def main() -> int:
    """Measure, show a table, and write JSON when asked to."""
    options = _options()
    progress = Progress()
    for group in ("kubernetes", "prometheus"):
        tools.ensure(group, progress)
    try:
        figures = _measured(options, progress)
    except (DevError, OSError) as error:
        progress.say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        progress.say("interrupted; nothing is left running")
        return 130
    table.show(figures, Console())
    if options.json:
        write(options.json, figures)
    return 0


def _measured(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    figures: dict[str, Any] = {"machine": machine(), "method": METHOD}
    figures["scale"] = {"prompts": options.prompts, "versions": options.versions, "changes": options.changes}
    with tempfile.TemporaryDirectory(prefix="prompt-operator-bench-") as folder:
        root = Path(folder)
        plane = ControlPlane.start(root / "control-plane", crds=REPO / "crds")
        try:
            prometheus = Prometheus.start(root / "prometheus", scrape_interval=f"{rules.SCRAPE}s")
            try:
                figures |= _on(plane, prometheus, root, options, progress)
                figures["machine"]["load_after"] = load_average()
            finally:
                prometheus.stop()
        finally:
            plane.stop()
    figures["rules"] = [] if options.without_rules else _rules(options.rules, progress)
    figures["rollback_by_rule"] = None if options.without_demo else _rollback_by_rule(progress)
    return figures


def _on(
    plane: ControlPlane, prometheus: Prometheus, root: Path, options: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    trail = [f"--audit={options.audit}", *([f"--audit-file={root / 'audit.jsonl'}"] if options.audit == "file" else [])]
    operator = OperatorProcess(root / "operator", plane.kubeconfig, prometheus.url, tick=_TICK, more=trail)
    audit = AuditLog(plane.audit_log, _AGENT)
    operator.start()
    try:
        with Api(plane) as api:
            return _figures(Bench(plane, operator, audit, api, progress, options.idle), prometheus, options)
    finally:
        operator.stop()


def _figures(bench: Bench, prometheus: Prometheus, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all that the operator process is asked for, in the order in which one thing prepares the next."""
    empty = bench.latencies(options.changes, "bench-empty", "nothing else loaded")
    loading = bench.loading(options.prompts, options.versions)
    bench.calm()
    loaded = bench.latencies(options.changes, "bench-loaded", "with everything loaded")
    return {
        "components": {"kube-apiserver": bench.plane.version(), "prometheus": prometheus.version()},
        "apply_to_configmap_ms": {"empty": empty, "loaded": loaded},
        "loading": loading,
        "idle": bench.idle(),
        "restart": bench.restart(),
        "with_traffic": bench.with_traffic(prometheus, options.prompts),
        "burst": bench.burst(options.prompts) if options.versions >= 2 * options.prompts else None,
        "rollback": bench.rollbacks(_ROLLBACKS, "bench-rollbacks"),
    }


def _rules(prompts: int, progress: Progress) -> list[dict[str, Any]]:
    """Judge so many prompts, in a few hundred namespaces and all in one."""
    found = []
    for namespaces in (min(300, prompts), 1):
        with tempfile.TemporaryDirectory(prefix="prompt-operator-bench-") as folder:
            found.append(rules.measure(Path(folder), prompts, namespaces, progress))
    return found


def _rollback_by_rule(progress: Progress) -> dict[str, float]:
    """Run the fast demo and return what it measured."""
    progress.say("a bad version is released and rolled back (about two minutes)")
    with tempfile.TemporaryDirectory(prefix="prompt-operator-bench-") as folder:
        figures = Path(folder) / "demo.json"
        command = [sys.executable, "-m", "devcluster.demo", "--fast", "--json", str(figures)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DevError(done.stderr.strip())
        measured = json.loads(figures.read_text("utf-8"))
        return {name: measured[name] for name in ("breach_to_switch_s", "held_to_switch_s")}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./operator/dev bench", description="Measure the figures of the project.")
    parser.add_argument("--prompts", type=int, default=1_000, metavar="N", help="Prompts loaded; default 1000")
    parser.add_argument("--versions", type=int, default=5_000, metavar="M", help="PromptVersions loaded; default 5000")
    parser.add_argument("--changes", type=int, default=200, metavar="N", help="changes timed; default 200")
    parser.add_argument("--idle", type=int, default=60, metavar="SECONDS", help="idle time measured; default 60")
    parser.add_argument("--rules", type=int, default=10_000, metavar="N", help="prompts judged; default 10000")
    parser.add_argument("--audit", choices=("stdout", "file", "off"), default="stdout", help="sink of the audit trail")
    parser.add_argument("--without-rules", action="store_true", help="leave the judging out (it takes 15 minutes)")
    parser.add_argument("--without-demo", action="store_true", help="leave the measured rollback out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()
    if options.versions < options.prompts or min(options.prompts, options.changes, options.idle, options.rules) < 1:
        parser.error("at least one version for each prompt, and at least one of everything else")
    return options


if __name__ == "__main__":
    sys.exit(main())
