"""A real Prometheus on loopback that scrapes what it is told to."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devcluster import http, tools
from devcluster.errors import DevError
from devcluster.ports import LOOPBACK, free_port
from devcluster.processes import ProcessSet
from devcluster.progress import Progress

_START_DEADLINE = 60.0  # seconds; 0.3 on an idle machine
_TARGETS_DEADLINE = 60.0
_ATTEMPTS = 4


@dataclass
class Prometheus:
    """A running Prometheus; make one with `start` or find one with `attach`."""

    state_dir: Path
    bin_dir: Path
    url: str
    processes: ProcessSet = field(repr=False)

    @classmethod
    def start(
        cls,
        state_dir: Path,
        *,
        targets: Sequence[str] = (),
        scrape_interval: str = "1s",
        flags: Sequence[str] = (),
        detached: bool = False,
        progress: Progress | None = None,
    ) -> "Prometheus":
        """Start with an empty store in `state_dir`, scraping `targets` (host:port), and wait until it is ready.

        Rule files are taken from `state_dir`/rules. Raises DevError with the last log lines when it does not start.
        """
        bin_dir = tools.ensure("prometheus", progress)
        state_dir = state_dir.absolute()
        processes = ProcessSet(state_dir, detached=detached)
        processes.stop()
        shutil.rmtree(state_dir / "data", ignore_errors=True)
        state_dir.mkdir(parents=True, exist_ok=True)
        server = cls(state_dir, bin_dir, "", processes)
        (state_dir / "prometheus.json").write_text(json.dumps(_config(scrape_interval)), "utf-8")
        server._write_targets(targets)
        try:
            server._boot(flags)
        except BaseException:
            processes.stop()
            raise
        (state_dir / "server.json").write_text(json.dumps({"url": server.url, "bin_dir": str(bin_dir)}), "utf-8")
        return server

    @classmethod
    def attach(cls, state_dir: Path) -> "Prometheus | None":
        """Return the detached Prometheus of `state_dir` when it still runs, else None."""
        processes = ProcessSet(state_dir.absolute(), detached=True)
        try:
            saved = json.loads((state_dir / "server.json").read_text("utf-8"))
            server = cls(state_dir.absolute(), Path(saved["bin_dir"]), saved["url"], processes)
        except (OSError, ValueError, KeyError):
            return None
        return server if any(process.alive for process in processes.recorded) and server._ready() else None

    @property
    def promtool(self) -> Path:
        """The promtool of the same release."""
        return self.bin_dir / "promtool"

    @property
    def targets(self) -> list[str]:
        """The targets last set."""
        groups = json.loads(self._targets_file.read_text("utf-8"))
        return [target for group in groups for target in group["targets"]]

    def set_targets(self, targets: Sequence[str]) -> None:
        """Scrape exactly `targets` (host:port) from now on; return when Prometheus has taken them over."""
        self._write_targets(targets)
        deadline = time.monotonic() + _TARGETS_DEADLINE
        while (active := self._active_targets()) != set(targets):
            if time.monotonic() > deadline:
                raise DevError(f"Prometheus scrapes {sorted(active)}, not {sorted(targets)}; see {self.log}.")
            time.sleep(0.05)

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Evaluate a PromQL expression at a Unix time in seconds (now if None); return the result list of the reply."""
        moment = {} if at is None else {"time": str(at)}
        reply = http.get_json(f"{self.url}/api/v1/query", {"query": expression, **moment})
        result: list[dict[str, Any]] = reply["data"]["result"]
        return result

    def reload(self) -> None:
        """Read the configuration and the rule files again."""
        http.post(f"{self.url}/-/reload")

    def version(self) -> str:
        """The server's version, such as v3.15.0."""
        return f"v{http.get_json(f'{self.url}/api/v1/status/buildinfo')['data']['version']}"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.processes.log("prometheus")

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.processes.recorded[-1].pid

    def restart(self, flags: Sequence[str] = ()) -> None:
        """End the server and start it again on the same data, at another port: it takes in blocks that were added."""
        self.processes.stop()
        self._boot(flags)

    def stop(self) -> None:
        """End the server; its data stays."""
        self.processes.stop()

    def _boot(self, flags: Sequence[str]) -> None:
        for _ in range(_ATTEMPTS):
            port = free_port()
            self.url = f"http://{LOOPBACK}:{port}"
            command = [str(self.bin_dir / "prometheus"), *self._flags(port), *flags]
            process = self.processes.spawn("prometheus", command)
            deadline = time.monotonic() + _START_DEADLINE
            while not self.processes.exited(process) and time.monotonic() < deadline:
                if self._ready():
                    return
                time.sleep(0.05)
            tail = self.processes.tail("prometheus")
            self.processes.stop()
            if "address already in use" not in tail:
                break
        raise DevError(f"Prometheus did not start; the end of {self.log}:\n{tail}")

    def _flags(self, port: int) -> list[str]:
        return [
            f"--config.file={self.state_dir / 'prometheus.json'}",
            f"--storage.tsdb.path={self.state_dir / 'data'}",
            "--storage.tsdb.retention.time=15d",  # rules look back 7d
            f"--web.listen-address={LOOPBACK}:{port}",
            "--web.enable-lifecycle",
            # new targets are scraped at once, not with the next five-second tick
            "--scrape.discovery-reload-interval=100ms",
        ]

    def _ready(self) -> bool:
        """Whether this server is ready: another one may have taken the port, so it must show our folder."""
        flags = http.probe_json(f"{self.url}/api/v1/status/flags")
        mine = flags is not None and flags["data"]["storage.tsdb.path"] == str(self.state_dir / "data")
        return mine and http.answers(f"{self.url}/-/ready")

    @property
    def _targets_file(self) -> Path:
        return self.state_dir / "targets.json"

    def _write_targets(self, targets: Sequence[str]) -> None:
        part = self._targets_file.with_suffix(".part")
        part.write_text(json.dumps([{"targets": list(targets)}]), "utf-8")
        part.replace(self._targets_file)

    def _active_targets(self) -> set[str]:
        active = http.get_json(f"{self.url}/api/v1/targets", {"state": "active"})["data"]["activeTargets"]
        return {target["discoveredLabels"]["__address__"] for target in active}


def _config(scrape_interval: str) -> dict[str, Any]:
    found = [{"files": ["targets.json"], "refresh_interval": "1s"}]
    return {
        "global": {"scrape_interval": scrape_interval, "evaluation_interval": scrape_interval},
        "rule_files": ["rules/*.yaml"],
        "scrape_configs": [
            {"job_name": "apps", "scrape_timeout": scrape_interval, "file_sd_configs": found},
        ],
    }
