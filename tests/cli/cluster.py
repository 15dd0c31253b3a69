"""An API server in memory, as far as the command uses one, and objects as it would return them."""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from prompt_operator.api.common import API_VERSION, rfc3339
from prompt_operator.cli.main import main
from prompt_operator.cli.session import Session, Target
from prompt_operator.ports import PROMPT, PROMPT_ROLLBACK, PROMPT_VERSION, Conflict, Forbidden, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from prompt_operator.ports import Kind, Manifest

T0 = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NOW = T0 + timedelta(minutes=10)
NAMESPACE, NAME, USER = "shop", "greeting", "ada"
HASHES = {"1.0.0": f"sha256:{'a' * 64}", "2.0.0": f"sha256:{'b' * 64}"}
QUERY = 'increase(errors{prompt="greeting"}[5m]) / increase(requests{prompt="greeting"}[5m])'
RECORD = "greeting-20261121t080500z-0a1b2c3d"


def at(minutes: int) -> str:
    """Return T0 and some minutes, as the API writes it."""
    return rfc3339(T0 + timedelta(minutes=minutes))


def thing(kind: Kind, name: str, spec: Mapping[str, Any], **rest: Any) -> Manifest:
    """Return an object that was created at T0; `annotations` and `managers` go to its metadata."""
    metadata: Manifest = {
        "name": name,
        "namespace": rest.pop("namespace", NAMESPACE),
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": rest.pop("generation", 1),
        "creationTimestamp": at(0),
    }
    managers = rest.pop("managers", ("kubectl",))
    metadata["managedFields"] = [{"manager": each, "fieldsV1": {"f:spec": {}}} for each in managers]
    if "annotations" in rest:
        metadata["annotations"] = rest.pop("annotations")
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "spec": dict(spec), **rest}


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    """Return a condition that came at T0."""
    return {
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": 1, "lastTransitionTime": at(0),
    }  # fmt: skip


FINE = (
    condition("Ready", "True", "Active", "1.0.0 is active"),
    condition("Serving", "True", "Active", "applications are served 1.0.0"),
    condition("Healthy", "True", "RulesNormal", "no critical rule fires"),
    condition("Propagated", "True", "SeenInMetrics", "applications report 1.0.0"),
)


def prompt(version: str = "1.0.0", *, status: Mapping[str, Any] | None = None, **rest: Any) -> Manifest:
    """Return a Prompt: without modifiers, one that serves 1.0.0 since T0 and is fine. Members of spec go in `spec`."""
    spec = {"version": version, **rest.pop("spec", {})}
    whole = {
        "observedGeneration": 1,
        "activeVersion": "1.0.0",
        "activeHash": HASHES["1.0.0"],
        "activatedAt": at(0),
        "history": [{"version": "1.0.0", "hash": HASHES["1.0.0"], "at": at(0), "by": "argocd-controller"}],
        "conditions": list(FINE),
    }
    return thing(PROMPT, rest.pop("name", NAME), spec, status=whole | dict(status or {}), **rest)


def version(version: str = "1.0.0", **spec: Any) -> Manifest:
    """Return a PromptVersion."""
    content = {} if "messages" in spec else {"text": f"Greet {{{{ name }}}} as {version} does."}
    whole = {"promptRef": {"name": NAME}, "version": version, **content, **spec}
    return thing(PROMPT_VERSION, f"{NAME}-{version}", whole)


def record(name: str = RECORD, *, minutes: int = 5, status: Mapping[str, Any] | None = None, **spec: Any) -> Manifest:
    """Return a record: without modifiers, of the automatic rollback of 2.0.0."""
    whole = {
        "promptRef": {"name": NAME},
        "fromVersion": "2.0.0",
        "toVersion": "1.0.0",
        "trigger": "Automatic",
        "decision": "Executed",
        "decidedAt": at(minutes),
        "reason": "critical-error-rate: error_rate 60.0% (120 of 200 in 5m; at least 48.4% at 99.9% confidence) > 5%",
        "rule": "critical-error-rate",
    }
    return thing(PROMPT_ROLLBACK, name, {k: v for k, v in (whole | spec).items() if v}, status=dict(status or {}))


def rolled_back(**rest: Any) -> Manifest:
    """Return a Prompt whose desired 2.0.0 was rolled back to 1.0.0 five minutes ago."""
    reason = record()["spec"]["reason"]
    held = f"2.0.0 was rolled back and stays out: set spec.release of PromptRollback {RECORD}"
    status = {
        "activatedAt": at(5),
        "override": {"version": "1.0.0", "because": "Rollback", "reason": reason, "since": at(5), "against": "2.0.0"},
        "decision": {
            "id": RECORD, "kind": "Rollback", "decision": "Executed", "from": "2.0.0", "to": "1.0.0",
            "rule": "critical-error-rate", "reason": reason, "at": at(5),
            "evidence": [
                {
                    "metric": "error_rate", "value": "0.6", "threshold": "0.05", "samples": 200,
                    "query": QUERY, "at": at(4),
                }
            ],
        },
        "held": [{"version": "2.0.0", "reason": reason, "since": at(5), "record": RECORD}],
        "history": [
            {"version": "1.0.0", "hash": HASHES["1.0.0"], "at": at(5), "by": "prompt-operator", "reason": reason},
            {"version": "2.0.0", "hash": HASHES["2.0.0"], "at": at(1), "by": "argocd", "leftBecause": "Rollback"},
        ],
        "conditions": [
            condition("Ready", "False", "RolledBack", f"1.0.0 is active instead of 2.0.0: {held}"),
            condition("Stalled", "True", "VersionHeld", held),
            *FINE[1:],
        ],
    }  # fmt: skip
    return prompt("2.0.0", status=status | rest.pop("status", {}), **rest)


@dataclass
class FakeCluster:
    """Objects by kind and name; refuses what the API server would refuse, as far as the command depends on it."""

    objects: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)
    patches: list[tuple[str, str, list[dict[str, Any]]]] = field(default_factory=list)
    """(kind, name, operations) of every patch."""
    answering: Callable[[FakeCluster, Manifest], None] | None = None
    """What an operator does about a created object."""
    failing: Exception | None = None
    """Raised by every request, when set."""
    server_skew: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    """Name -> why an object of that name may not be created."""

    @classmethod
    def of(cls, *objects: Manifest, **given: Any) -> FakeCluster:
        """Return a cluster with these objects."""
        cluster = cls(**given)
        for each in objects:
            cluster.put(each)
        return cluster

    def put(self, manifest: Manifest) -> None:
        """Store an object."""
        metadata = manifest["metadata"]
        self.objects[manifest["kind"], metadata["namespace"], metadata["name"]] = manifest

    def fail(self) -> None:
        """Raise the failure that the test asked for."""
        if self.failing is not None:
            raise self.failing

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""
        self.fail()
        try:
            return copy.deepcopy(self.objects[kind.kind, namespace, name])
        except KeyError:
            raise NotFound(f"GET {kind.kind} {namespace}/{name}: 404 NotFound: not found") from None

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", metadata_only: bool = False
    ) -> AsyncIterator[Manifest]:
        """Read all objects of a kind."""
        assert not metadata_only
        self.fail()
        for (its_kind, its_namespace, _), manifest in sorted(self.objects.items()):
            if its_kind == kind.kind and namespace in {None, its_namespace} and _has(manifest, labels):
                yield copy.deepcopy(manifest)

    async def create(self, kind: Kind, body: Manifest) -> Manifest | None:
        """Create an object, or answer who asks."""
        self.fail()
        if kind.kind == "SelfSubjectReview":
            return {"status": {"userInfo": {"username": USER}}}
        if kind.kind == "SubjectAccessReview":
            return {"status": {"allowed": True}}
        metadata = {**body["metadata"], "resourceVersion": "1", "uid": "uid", "creationTimestamp": at(9)}
        if "generateName" in metadata:
            metadata["name"] = f"{metadata.pop('generateName')}x1"
        if (body["kind"], metadata["namespace"], metadata["name"]) in self.objects:
            return None
        if metadata["name"] in self.refused:
            raise Forbidden(f"POST {body['kind']}: 403 Forbidden: {self.refused[metadata['name']]}")
        created = {**body, "metadata": metadata}
        self.put(created)
        if self.answering is not None:
            self.answering(self, created)
        return created

    async def json_patch(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Mapping[str, Any]], *, subresource: str = ""
    ) -> Manifest:
        """RFC 6902: add, remove and test."""
        assert not subresource
        target = self.objects[kind.kind, namespace, name]
        self.patches.append((kind.kind, name, copy.deepcopy([dict(operation) for operation in operations])))
        for operation in operations:
            _operate(target, operation)
        return target

    async def apply(
        self, kind: Kind, body: Manifest, *, manager: str, subresource: str = "", force: bool = True
    ) -> Manifest:
        """Not used: an apply would take away what the same manager applied before."""
        raise AssertionError((kind, body, manager, subresource, force))

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object with this uid."""
        found = self.objects.pop((kind.kind, namespace, name))
        assert found["metadata"]["uid"] == uid

    def run(self, *args: str) -> Result:
        """Run the command on this cluster."""
        return CliRunner().invoke(main, args, obj=self.connect)

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Session]:
        """Open a session in namespace shop, ten minutes after T0."""
        namespace = target.namespace or NAMESPACE
        yield Session(
            self, namespace, lambda: NOW, target.flags(namespace), target.namespace, "https://cluster", target
        )


def _has(manifest: Manifest, label: str) -> bool:
    name, _, value = label.partition("=")
    return not label or (manifest["metadata"].get("labels") or {}).get(name) == value


def _operate(target: Manifest, operation: Mapping[str, Any]) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for part in parents:
        target = target[part]
    match operation["op"]:
        case "add":
            target[last] = operation["value"]
        case "remove":
            del target[last]
        case "test" if target.get(last) != operation["value"]:
            raise Conflict("an operation did not fit")
