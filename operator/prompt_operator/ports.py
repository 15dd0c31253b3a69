"""What the engine needs from the outside world, as protocols, and the errors that say what to do about a failure.

Adapters implement these; tests implement them in memory. Nothing here imports an implementation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from prompt_operator.core.audit.entry import Audited, Entry

Manifest: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON: `apiVersion`, `kind`, `metadata`, and the rest."""


class Retry(Exception):  # noqa: N818  says what to do, not what it is
    """The same request may succeed later: try again after `after` seconds (None: the caller's back-off decides)."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Conflict(Retry):
    """The object changed since it was read (409): read again, decide again."""


class Unavailable(Retry):
    """The other side did not give a whole, trustworthy answer: what it would have said is unknown."""


class WentBack(Exception):  # noqa: N818  says what happened
    """The API server tells of an earlier state than it did before, as after the restore of a snapshot of its store."""


class GiveUp(Exception):  # noqa: N818
    """The same request will fail again: something must change first (400, 403, 404, 422, an undeclared field)."""


class NotFound(GiveUp):
    """The object does not exist (404)."""


class UnknownKind(NotFound):
    """The server does not serve this kind at all (404 without a Status): its CRD is missing."""


class Forbidden(GiveUp):
    """The user may not do this (403): a right, a quota or an admission policy stands against it."""


class Terminating(Forbidden):
    """Nothing can be made in this namespace any more, because it is being deleted (403, NamespaceTerminating)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API server: group/version, kind and the plural that stands in its URL."""

    api_version: str
    kind: str
    plural: str


PROMPT = Kind("promptops.dev/v1alpha1", "Prompt", "prompts")
PROMPT_VERSION = Kind("promptops.dev/v1alpha1", "PromptVersion", "promptversions")
EXPERIMENT = Kind("promptops.dev/v1alpha1", "Experiment", "experiments")
PROMPT_POLICY = Kind("promptops.dev/v1alpha1", "PromptPolicy", "promptpolicies")
PROMPT_ROLLBACK = Kind("promptops.dev/v1alpha1", "PromptRollback", "promptrollbacks")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
KINDS = (PROMPT, PROMPT_VERSION, EXPERIMENT, PROMPT_POLICY, PROMPT_ROLLBACK, CONFIG_MAP)


class Cluster(Protocol):
    """The API server. Methods raise `Retry`, `Conflict`, `NotFound` or `GiveUp`, never a transport's own error."""

    @property
    def server_skew(self) -> float | None:
        """Seconds by which the server's clock is ahead of ours, to about a second; None before the first answer."""
        ...

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""
        ...

    def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Manifest]:
        """Read all objects of a kind, page by page."""
        ...

    async def create(self, kind: Kind, body: Manifest) -> Manifest | None:
        """Create an object that must not exist yet; None when it exists already (409 AlreadyExists)."""
        ...

    async def apply(
        self, kind: Kind, body: Manifest, *, manager: str, subresource: str = "", force: bool = True
    ) -> Manifest:
        """Server-side apply. `metadata.resourceVersion` in the body fences an update, `metadata.uid` a create.

        Without `force`, a field that another manager owns raises Conflict instead of being taken over.
        """
        ...

    async def json_patch(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Mapping[str, Any]], *, subresource: str = ""
    ) -> Manifest:
        """RFC 6902 patch; a failed `test` operation raises Conflict."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this uid; a missing object is fine, another uid raises Conflict."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector: its labels and its value (may be NaN or infinite)."""

    labels: Mapping[str, str]
    value: float


DEFAULT_SOURCE = "default"
"""Name of the metric source that prompts use whose `metrics.source` names none."""


class Metrics(Protocol):
    """A Prometheus-compatible server."""

    @property
    def lag(self) -> timedelta:
        """Return how far behind the present its newest data may be: ask no later than now less this.

        0 for a Prometheus that scrapes by itself; more where samples are written to it from elsewhere.
        """
        ...

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Evaluate an instant query; Unavailable for any failure, timeout, warning, truncation or partial answer."""
        ...


@dataclass(frozen=True, slots=True)
class Happening:
    """A transition worth an Event: what happened to which object. Never contains prompt text."""

    regarding: Mapping[str, str] = field(repr=False)
    """apiVersion, kind, namespace, name, uid of the object."""
    type: str
    """Normal or Warning."""
    reason: str
    action: str
    note: str


class Events(Protocol):
    """The recorder of events.k8s.io/v1 Events."""

    def publish(self, happening: Happening) -> None:
        """Queue the Event; never blocks, never raises. Repeats become a series; a flood is dropped and counted."""
        ...


class Trail(Protocol):
    """The audit trail."""

    @property
    def audited(self) -> Audited | None:
        """What it holds; None while that is not known yet, or when there is no trail."""
        ...

    def offer(self, entry: Entry) -> None:
        """Queue an entry unless one of its id is held; never blocks, never raises.

        What finds no room is asked for again later, or counted as lost where nothing else tells of it.
        """
        ...


class NoTrail:
    """No audit trail: nothing is kept, and nothing is asked for."""

    audited: Audited | None = None

    def offer(self, entry: Entry) -> None:
        """Drop the entry."""


class Clock(Protocol):
    """The wall clock, always UTC, and the monotonic clock for intervals within this process."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...
