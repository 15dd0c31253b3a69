"""What is seen from outside: the API server through watches, Prometheus and the application by asking them.

Nothing the demo shows comes from anywhere else.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from devcluster.cluster import Cluster
from devcluster.demo.bot import PROMPT
from devcluster.demo.stage import CONFIG_MAP, NAMESPACE
from devcluster.prometheus import Prometheus
from devcluster.watch import Json, ObjectWatch

RULE = "critical-error-rate"
_GROUP = f"/apis/promptops.dev/v1alpha1/namespaces/{NAMESPACE}"
_REQUESTS = f'llm_prompt_requests_total{{prompt_namespace="{NAMESPACE}",prompt="{PROMPT}"'
_EVERY = 0.5  # seconds between two looks at Prometheus and the application
_KEPT = 400  # error rates kept for the curve


@dataclass(frozen=True)
class Projection:
    """One state of the ConfigMap, and when the watch showed it (seconds since the epoch)."""

    at: float
    version: str
    hash: str
    revision: str


@dataclass(frozen=True)
class RuleChange:
    """One state of the watched rule, and when the watch showed it."""

    at: float
    state: str


@dataclass(frozen=True)
class Sight:
    """Everything seen so far; never changes, so it can be drawn while more is seen."""

    prompt: Json = field(default_factory=dict)
    projections: tuple[Projection, ...] = ()
    rule_changes: tuple[RuleChange, ...] = ()
    record: Json = field(default_factory=dict)
    error_rate: float | None = None
    by_version: dict[str, float] = field(default_factory=dict)
    curve: tuple[float | None, ...] = ()
    application: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> Json:
        """Status of the Prompt."""
        found: Json = self.prompt.get("status") or {}
        return found

    @property
    def active(self) -> str:
        """The version the operator has activated."""
        return str(self.status.get("activeVersion", ""))

    @property
    def rule(self) -> str:
        """State of the watched rule; Normal is not listed in status."""
        return self.rule_changes[-1].state if self.rule_changes else "Normal"

    @property
    def projection(self) -> Projection | None:
        """The ConfigMap as it is now."""
        return self.projections[-1] if self.projections else None

    def condition(self, kind: str, of: Json | None = None) -> Json:
        """A condition of the Prompt, or of another object."""
        status = self.status if of is None else of.get("status") or {}
        found = (each for each in status.get("conditions", []) if each["type"] == kind)
        return next(found, {})

    def serves(self, version: str) -> bool:
        """Whether the application's own reply shows this version, with the hash of the ConfigMap."""
        now = self.projection
        served = self.application.get("version"), self.application.get("hash")
        return now is not None and now.version == version and served == (version, now.hash)


class Observer:
    """Keeps a `Sight` up to date from `start` to `stop`."""

    def __init__(self, cluster: Cluster, prometheus: Prometheus, application: Callable[[], Json | None]) -> None:
        self._cluster, self._prometheus, self._application = cluster, prometheus, application
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sight = Sight()
        self._decision = ""
        self._watches = [
            self._watch(f"{_GROUP}/prompts", PROMPT, self._prompt_changed),
            self._watch(f"/api/v1/namespaces/{NAMESPACE}/configmaps", CONFIG_MAP, self._config_map_changed),
        ]
        self._poller = threading.Thread(target=self._poll, name="observer", daemon=True)

    @property
    def sight(self) -> Sight:
        """Everything seen so far."""
        return self._sight

    def start(self) -> "Observer":
        """Begin to look."""
        for watch in self._watches:
            watch.start()
        self._poller.start()
        return self

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        for watch in self._watches:
            watch.stop()
        self._poller.join(10)

    def _watch(self, path: str, name: str, on_change: Callable[[Json | None], None]) -> ObjectWatch:
        cluster = self._cluster
        return ObjectWatch(cluster.url, cluster.ca_file, cluster.admin_token, path, name, on_change)

    def _update(self, change: Callable[[Sight], dict[str, Any]]) -> None:
        with self._lock:
            seen = self._sight
            self._sight = Sight(**{**vars(seen), **change(seen)})

    def _prompt_changed(self, prompt: Json | None) -> None:
        prompt, now = prompt or {}, time.time()
        decision = (prompt.get("status") or {}).get("decision") or {}
        states = [rule_state(prompt)]
        if decision.get("kind") == "Rollback" and self._first_seen(decision["id"]):
            # Firing and rolled back are one write: the decision names the rule that fired.
            states = ["Firing", *states] if decision.get("rule") == RULE else states
            self._follow(f"{_GROUP}/promptrollbacks", decision["id"], self._record_changed)
        self._update(lambda seen: {"prompt": prompt, "rule_changes": _extended(seen.rule_changes, states, now)})

    def _first_seen(self, decision: str) -> bool:
        before, self._decision = self._decision, decision
        return decision != before

    def _follow(self, path: str, name: str, on_change: Callable[[Json | None], None]) -> None:
        watch = self._watch(path, name, on_change)
        self._watches.append(watch)
        watch.start()

    def _record_changed(self, record: Json | None) -> None:
        self._update(lambda _: {"record": record or {}})

    def _config_map_changed(self, config_map: Json | None) -> None:
        if config_map is None:
            return
        data, marks = config_map.get("data") or {}, config_map["metadata"].get("annotations", {})
        revision = marks.get("promptops.dev/revision", "")
        now = Projection(time.time(), data.get("version", ""), data.get("hash", ""), revision)
        self._update(lambda seen: {"projections": (*seen.projections, now)})

    def _poll(self) -> None:
        while not self._stopping.wait(_EVERY):
            state = self._application()
            rates = self._error_rates()
            self._update(
                lambda seen, state=state, rates=rates: {  # type: ignore[misc]
                    "application": state or {},
                    **rates,
                    "curve": (*seen.curve, rates.get("error_rate"))[-_KEPT:],
                }
            )

    def _error_rates(self) -> dict[str, Any]:
        """The share of answers that could not be used within the last minute, over all versions and by version."""
        try:
            total = self._prometheus.query(_share(""))
            versions = self._prometheus.query(_share("by (version)"))
        except OSError:
            return {}  # the last ones stay; the stage notices when Prometheus has ended
        by_version = {each["metric"]["version"]: float(each["value"][1]) for each in versions}
        return {
            "error_rate": next((number(each["value"][1]) for each in total), None),
            "by_version": {version: rate for version, rate in by_version.items() if rate == rate},  # noqa: PLR0124 - NaN
        }


def rule_state(prompt: Json) -> str:
    """State of the watched rule as the Prompt's status tells it."""
    rules = (prompt.get("status") or {}).get("rules", [])
    return next((str(rule["state"]) for rule in rules if rule["name"] == RULE), "Normal")


def number(text: str) -> float | None:
    """Return a sample's value; None for NaN, Prometheus' word for no traffic."""
    return None if text == "NaN" else float(text)


def _share(by: str) -> str:
    window = "[1m]"
    return f'sum {by} (rate({_REQUESTS},outcome="error"}}{window})) / sum {by} (rate({_REQUESTS}}}{window}))'


def _extended(changes: tuple[RuleChange, ...], states: list[str], now: float) -> tuple[RuleChange, ...]:
    for state in states:
        if not changes or changes[-1].state != state:
            changes = (*changes, RuleChange(now, state))
    return changes
