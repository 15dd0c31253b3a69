"""What `doctor` looks at: everything is read once, and what could not be read is remembered as not looked at."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml

from prompt_client import wire
from prompt_operator.api import KINDS
from prompt_operator.cli.errors import sentence
from prompt_operator.core import strictyaml
from prompt_operator.ports import (
    CONFIG_MAP,
    EXPERIMENT,
    PROMPT,
    PROMPT_POLICY,
    PROMPT_ROLLBACK,
    PROMPT_VERSION,
    Forbidden,
    GiveUp,
    Kind,
    NotFound,
    Retry,
    UnknownKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from prompt_operator.cli.session import Session
    from prompt_operator.ports import Manifest

_CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
_LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
_BINDING = Kind(
    "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"
)
_REVIEW = Kind("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews")
NEEDED = (
    *(("promptops.dev", each.definition.plural, "", "watch") for each in KINDS),
    *(("promptops.dev", each.definition.plural, "status", "patch") for each in KINDS),
    *(("promptops.dev", "promptrollbacks", "", verb) for verb in ("create", "delete")),
    *(("", "configmaps", "", verb) for verb in ("watch", "create", "patch", "delete")),
)
"""(group, resource, subresource, verb) of the rights without which the operator does not do its work."""
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_ELSEWHERE = (
    ". Is it elsewhere in the cluster, say where: --operator; "
    "does it run outside, as on your machine, ask it: --operator-url"
)
_LIES_IN = "settings.yaml"


@dataclass(slots=True)
class Snapshot:
    """The cluster as doctor found it."""

    now: datetime
    home: tuple[str, str]
    """Namespace of the operator, and the name of its Deployment and account."""
    flags_in: Callable[[str], str]
    """Namespace -> the options of a command that goes there, in the same cluster."""
    crds: dict[str, Manifest | None] = field(default_factory=dict)
    """Plural -> the installed definition; None: there is none. Without those that could not be read."""
    prompts: list[Manifest] = field(default_factory=list)
    versions: list[Manifest] = field(default_factory=list)
    policies: list[Manifest] = field(default_factory=list)
    experiments: list[Manifest] = field(default_factory=list)
    rollbacks: list[Manifest] = field(default_factory=list)
    config_maps: list[Manifest] | None = None
    """Those with the operator's label; None: not looked at."""
    lease: Manifest | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """The operator's settings file as its ConfigMap has it."""
    denied: list[str] = field(default_factory=list)
    """Rights that the operator's account lacks."""
    absent: set[str] = field(default_factory=set)
    """`settings`, `lease`, `admission`: the server said that there is none."""
    checks: dict[str, str] = field(default_factory=dict)
    """Failing checks of the operator's /health/deep, by name; and `http` when it does not answer."""
    installed: bool = True
    """There is a Lease or settings where the operator should be; a local run has neither."""
    answered: bool = False
    """The operator said itself how it is."""
    not_looked: list[tuple[str, str]] = field(default_factory=list)
    """What could not be looked at, and why."""

    def miss(self, what: str, why: str) -> None:
        """Remember what could not be looked at, once."""
        if (what, why) not in self.not_looked:
            self.not_looked.append((what, why))


async def look(session: Session, home: tuple[str, str], url: str, namespace: str | None) -> Snapshot:
    """Read all there is; where the API server answers, nothing that fails ends the look.

    Args:
        session: the session.
        home: see `Snapshot.home`.
        url: address of the operator's health server; empty: it is not asked.
        namespace: whose objects; None: of all.

    Raises:
        Retry, GiveUp: nobody answers, or nobody knows who asks: nothing can be looked at.
    """
    with suppress(NotFound, Forbidden):
        await session.cluster.get(_CRD, "", KINDS[0].definition.crd_name)
    seen = Snapshot(session.now(), home, session.flags_in)
    await _definitions(session, seen)
    for kind, into in (
        (PROMPT, seen.prompts),
        (PROMPT_VERSION, seen.versions),
        (PROMPT_POLICY, seen.policies),
        (EXPERIMENT, seen.experiments),
        (PROMPT_ROLLBACK, seen.rollbacks),
    ):
        into.extend(await _all(session, seen, kind, namespace) or ())
    label = f"{wire.MANAGED_BY_LABEL}=prompt-operator"
    seen.config_maps = await _all(session, seen, CONFIG_MAP, namespace, label)
    await _operator(session, seen)
    if url:
        await _health(seen, url)
    if not seen.installed and not seen.answered:
        seen.miss("the operator", f"there is none installed as {'/'.join(seen.home)}{_ELSEWHERE}")
    return seen


def _why(error: Exception) -> str:
    """Return why something could not be looked at; what a person may not see is so for many things at once."""
    return "you have no right to see this" if isinstance(error, Forbidden) else sentence(error)


async def _all(
    session: Session, seen: Snapshot, kind: Kind, namespace: str | None, labels: str = ""
) -> list[Manifest] | None:
    try:
        return [each async for each in session.cluster.list(kind, namespace=namespace, labels=labels)]
    except UnknownKind:
        return []  # the missing definition is told
    except (Retry, GiveUp) as error:
        seen.miss(kind.plural, _why(error))
        return None


async def _one(session: Session, seen: Snapshot, kind: Kind, namespace: str, name: str) -> Manifest | None:
    """Read an object; raises NotFound when there is none, returns None when it could not be looked at."""
    try:
        return await session.cluster.get(kind, namespace, name)
    except NotFound:
        raise
    except (Retry, GiveUp) as error:
        seen.miss(f"{kind.kind} {name}" if kind is not _CRD else "CustomResourceDefinitions", _why(error))
        return None


async def _definitions(session: Session, seen: Snapshot) -> None:
    for each in KINDS:
        definition = each.definition
        try:
            found = await _one(session, seen, _CRD, "", definition.crd_name)
        except NotFound:
            seen.crds[definition.plural] = None
            continue
        if found is not None:
            seen.crds[definition.plural] = found


async def _operator(session: Session, seen: Snapshot) -> None:
    """Look at its settings, its Lease and the admission policy; without the first two it is another's, or elsewhere."""
    await _settings(session, seen)
    await _lease(session, seen)
    if seen.absent >= {"settings", "lease"}:
        seen.absent -= {"settings", "lease"}
        seen.installed = False
        return
    await _rights(session, seen)
    try:
        await _one(session, seen, _BINDING, "", f"{seen.home[1]}-signatures")
    except NotFound:
        seen.absent.add("admission")


async def _settings(session: Session, seen: Snapshot) -> None:
    namespace, name = seen.home
    try:
        found = await _one(session, seen, CONFIG_MAP, namespace, f"{name}-settings")
        text = (found or {}).get("data", {}).get(_LIES_IN, "")
        settings = strictyaml.load(text)
        seen.settings = settings if isinstance(settings, dict) else {}
    except NotFound:
        seen.absent.add("settings")
    except yaml.YAMLError as error:
        seen.miss("the operator's settings", f"{_LIES_IN} is not YAML: {error}")


async def _lease(session: Session, seen: Snapshot) -> None:
    """Read the Lease that the settings name; an operator whose settings name none has none."""
    if seen.settings and not seen.settings.get("lease"):
        why = "its settings name no Lease, ask it with --operator-url"
        seen.miss("whether the operator is alive", why)
        return
    namespace, _, name = str(seen.settings.get("lease", seen.home[1])).rpartition("/")
    try:
        seen.lease = await _one(session, seen, _LEASE, namespace or seen.home[0], name)
    except NotFound:
        seen.absent.add("lease")


async def _rights(session: Session, seen: Snapshot) -> None:
    """Ask the server what the operator's account may do, everywhere or where its settings say that it looks."""
    for namespace in seen.settings.get("namespaces") or ("",):
        for right in NEEDED:
            try:
                allowed = await _may(session, seen.home, right, namespace)
            except (Retry, GiveUp) as error:
                seen.miss("the operator's rights", _why(error))
                return
            if not allowed:
                _, resource, subresource, verb = right
                where = f" in {namespace}" if namespace else ""
                seen.denied.append(f"{verb} {'/'.join(filter(None, (resource, subresource)))}{where}")


async def _may(session: Session, account: tuple[str, str], right: tuple[str, str, str, str], namespace: str) -> bool:
    attributes = dict(zip(("group", "resource", "subresource", "verb"), right, strict=True))
    spec = {
        "user": f"system:serviceaccount:{account[0]}:{account[1]}",
        "groups": ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{account[0]}"],
        "resourceAttributes": {**attributes, "namespace": namespace},
    }
    body = {"apiVersion": _REVIEW.api_version, "kind": _REVIEW.kind, "metadata": {}, "spec": spec}
    review = await session.cluster.create(_REVIEW, body) or {}
    return bool(review["status"].get("allowed"))


async def _health(seen: Snapshot, url: str) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as http,
            http.get(f"{url.rstrip('/')}/health/deep") as answer,
        ):
            document: dict[str, Any] = await answer.json()
            found = {name: (check["ok"], str(check["message"])) for name, check in document["checks"].items()}
    except (aiohttp.ClientError, OSError, TimeoutError, LookupError, TypeError, ValueError) as error:
        seen.checks = {"http": f"{url} does not answer as the operator does: {type(error).__name__}"}
        return
    seen.answered = True
    seen.checks = {name: message for name, (ok, message) in found.items() if ok is False}
    seen.not_looked += [(f"{name} of the operator", message) for name, (ok, message) in found.items() if ok is None]
