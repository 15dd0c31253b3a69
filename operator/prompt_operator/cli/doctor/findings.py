"""What `doctor` finds wrong in what it saw, with its remedy: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from prompt_operator.api import KINDS, crdgen
from prompt_operator.cli.doctor.remedies import RUNBOOKS, remedy
from prompt_operator.core.projection import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prompt_operator.cli.doctor.snapshot import Snapshot
    from prompt_operator.ports import Manifest

_FINE: Mapping[str, str] = {
    "Ready": "True", "Serving": "True", "Stalled": "False", "Reconciling": "False", "Verified": "True",
    "ReviewRequired": "False", "NotRecorded": "False", "NotImplemented": "False",
}  # fmt: skip
"""Condition -> the status that nobody has to care about; Healthy and Propagated are looked at apart."""
_NOT_KNOWN = frozenset({"NoEvidence", "NotSeenYet", "Inconclusive"})
"""Reasons that say only that nothing is known."""
_GRACE = timedelta(minutes=3)
"""So long applications may take to show a new version: kubelet needs up to 90 s, then it is scraped and asked for."""
_UNANSWERED = timedelta(seconds=30)
_SKEW = timedelta(seconds=30)
_CHECKS = {
    "store": "OperatorNotReady", "prometheus": "PrometheusUnreachable", "rules": "RulesLate",
    "audit": "AuditTrailFails", "http": "OperatorDown",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    where: str
    found: str
    """Its name: a reason of a condition, or one of doctor's own."""
    message: str
    remedy: str
    runbook: str
    """Page under docs/."""
    certain: bool = True
    """Whether it is wrong; False: it is not known whether it is."""


def findings(seen: Snapshot) -> tuple[Finding, ...]:
    """Return all that is wrong or not known: what is wrong first, with what concerns everything ahead of the rest.

    Each name comes once per place.
    """
    parts: tuple[Callable[[Snapshot], Iterator[Finding]], ...] = (
        *(_definitions, _operator, _objects, _config_maps, _asked, _recoveries),
    )
    found: dict[tuple[str, str], Finding] = {}
    for part in parts:
        for finding in part(seen):
            found.setdefault((finding.where, finding.found), finding)
    return tuple(sorted(found.values(), key=lambda finding: not finding.certain))


def _finding(where: str, found: str, message: str, command: str = "") -> Finding:
    """Make a finding.

    Args:
        where: the place.
        found: the name.
        message: what was seen there.
        command: name of the prompt with the options that lead to it, for commands to copy.
    """
    page = f"runbooks/{found}.md" if found in RUNBOOKS else "emergency.md#what-doctor-finds"
    advice = remedy(found).replace("NAME", command) if command else remedy(found)
    return Finding(where, found, message, advice, page, found not in _NOT_KNOWN)


def _of(seen: Snapshot, manifest: Manifest, found: str, message: str) -> Finding:
    spec, metadata = manifest["spec"], manifest["metadata"]
    prompt = metadata["name"] if manifest["kind"] == "Prompt" else (spec.get("promptRef") or {}).get("name")
    command = f"{prompt} {seen.flags_in(metadata['namespace'])}" if prompt else ""
    return _finding(place(manifest), found, message, command)


# --- what concerns everything


def _definitions(seen: Snapshot) -> Iterator[Finding]:
    for model in KINDS:
        plural = model.definition.plural
        if plural not in seen.crds:
            continue
        installed = seen.crds[plural]
        if installed is None:
            yield _finding("cluster", "CrdMissing", f"there is no CustomResourceDefinition {model.definition.crd_name}")
            continue
        lacking = sorted(_paths(crdgen.open_api(model)) - _paths(_schema(installed)))
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            message = f"{model.definition.crd_name} lacks what this release uses: {lacking[0]}{more}"
            yield _finding("cluster", "CrdOlder", message)


def _schema(definition: Manifest) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _paths(schema: Mapping[str, Any], path: str = "") -> set[str]:
    found: set[str] = {path} if path else set()
    for name, child in (schema.get("properties") or {}).items():
        found |= _paths(child, f"{path}.{name}" if path else name)
    return found | (_paths(schema["items"], f"{path}[]") if isinstance(schema.get("items"), dict) else set())


def _operator(seen: Snapshot) -> Iterator[Finding]:
    yield from _leader(seen)
    if seen.denied:
        yield _finding("operator", "RightsMissing", f"its account may not: {', '.join(seen.denied)}")
    if "admission" in seen.absent:
        message = f"there is no ValidatingAdmissionPolicyBinding {seen.home[1]}-signatures: names are not checked"
        yield _finding("cluster", "AdmissionOff", message)
    mode = seen.settings.get("mode", "Active")
    if mode != "Active":
        yield _finding("operator", f"Operator{mode}", f"its settings say mode: {mode}")
    for name, message in seen.checks.items():
        yield _finding("operator", _CHECKS.get(name, "OperatorNotReady"), message)


def _leader(seen: Snapshot) -> Iterator[Finding]:
    if "lease" in seen.absent and not seen.answered:
        yield _finding("operator", "OperatorDown", "its Lease does not exist: it never ran here")
    spec = (seen.lease or {}).get("spec") or {}
    if not spec.get("renewTime"):
        return
    age = seen.now - datetime.fromisoformat(spec["renewTime"])
    if age < -_SKEW:
        ahead = f"{-age.total_seconds():.0f} s ahead of the API server's"
        yield _finding("operator", "ClockSkew", f"the clock of {spec.get('holderIdentity')} is {ahead}")
    elif not spec.get("holderIdentity") or age > timedelta(seconds=spec.get("leaseDurationSeconds") or 0):
        yield _finding("operator", "OperatorDown", f"nobody has renewed its Lease since {spec['renewTime']}")


# --- single objects


def _objects(seen: Snapshot) -> Iterator[Finding]:
    for manifest in (*seen.prompts, *seen.versions, *seen.policies, *seen.experiments):
        conditions = {each["type"]: each for each in (manifest.get("status") or {}).get("conditions") or ()}
        for kind, condition in conditions.items():
            if _is_wrong(seen, kind, condition) and not _told_by_ready(conditions, condition):
                yield _of(seen, manifest, condition["reason"], condition["message"])
        if _unseen(seen, manifest):
            change = "its latest change" if conditions else "it at all"
            yield _of(seen, manifest, "NotLookedAt", f"the operator has not looked at {change}")


def _is_wrong(seen: Snapshot, kind: str, condition: Mapping[str, Any]) -> bool:
    status, reason = condition["status"], condition["reason"]
    if reason in {"Suspended", "Fallback"}:
        return True  # somebody switched it off, and may have forgotten it
    if kind in {"Healthy", "Propagated"} and reason in _NOT_KNOWN:
        return _lasting(seen, condition)
    if kind in {"Healthy", "Propagated"}:
        return bool(status != "True")
    return bool(status != _FINE.get(kind, status))


def _told_by_ready(conditions: Mapping[str, Mapping[str, Any]], condition: Mapping[str, Any]) -> bool:
    """Tell whether Ready is False for the same thing and says more: RolledBack ends with the words of VersionHeld."""
    ready = conditions.get("Ready", {})
    return bool(
        condition["type"] == "Stalled" and ready.get("status") == "False" and condition["message"] in ready["message"]
    )


def _lasting(seen: Snapshot, condition: Mapping[str, Any]) -> bool:
    return seen.now - datetime.fromisoformat(condition["lastTransitionTime"]) > _GRACE


def _unseen(seen: Snapshot, manifest: Manifest) -> bool:
    """Tell whether a change is older than any look takes; its time is the newest one in managedFields."""
    metadata, observed = manifest["metadata"], (manifest.get("status") or {}).get("observedGeneration") or 0
    if observed >= metadata.get("generation", 0):
        return False
    written = [entry["time"] for entry in metadata.get("managedFields") or () if "time" in entry]
    at = max(written, default=metadata["creationTimestamp"])
    return seen.now - datetime.fromisoformat(at) > _UNANSWERED


def place(manifest: Manifest) -> str:
    """Return where an object is: `shop/Prompt/greeting`."""
    metadata = manifest["metadata"]
    return f"{metadata['namespace']}/{manifest['kind']}/{metadata['name']}"


def _config_maps(seen: Snapshot) -> Iterator[Finding]:
    if seen.config_maps is None:
        return
    found = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in seen.config_maps}
    for prompt in seen.prompts:
        projection = (prompt.get("status") or {}).get("projection")
        if projection is None:
            continue
        config_map = found.get((prompt["metadata"]["namespace"], projection["configMap"]))
        if config_map is None:
            message = f"ConfigMap {projection['configMap']} is gone, or has lost the operator's label"
            yield _of(seen, prompt, "ConfigMapMissing", message)
        elif not observe(config_map).intact:
            yield _finding(place(config_map), "ConfigMapEdited", "it does not say what the operator wrote")


def _asked(seen: Snapshot) -> Iterator[Finding]:
    for request in seen.rollbacks:
        if request["spec"].get("decision") or (request.get("status") or {}).get("record"):
            continue
        if seen.now - datetime.fromisoformat(request["metadata"]["creationTimestamp"]) > _UNANSWERED:
            who = request["spec"].get("requestedBy")
            yield _of(seen, request, "RequestUnanswered", f"a rollback that {who} asked for waits")


def _recoveries(seen: Snapshot) -> Iterator[Finding]:
    """Yield the rollbacks in force that did not help, or of which nobody knows whether they did."""
    records = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in seen.rollbacks}
    for prompt in seen.prompts:
        status = prompt.get("status") or {}
        decision = (status.get("decision") or {}).get("id", "")
        ended = (records.get((prompt["metadata"]["namespace"], decision)) or {}).get("status") or {}
        if status.get("override") and ended.get("outcome") in {"NotRecovered", "Inconclusive"}:
            message = f"rollback {decision}: {ended.get('message') or 'see its record'}"
            yield _of(seen, prompt, ended["outcome"], message)
