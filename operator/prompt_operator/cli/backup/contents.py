"""What a restore may write and what it leaves out: pure, about objects as a backup keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prompt_operator.core.versions import record_of
from prompt_operator.ports import EXPERIMENT, PROMPT, PROMPT_POLICY, PROMPT_ROLLBACK, PROMPT_VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from prompt_operator.ports import Manifest

KINDS = (PROMPT_POLICY, PROMPT_VERSION, PROMPT_ROLLBACK, PROMPT, EXPERIMENT)
"""In the order in which they are restored: a hold is known before the Prompt that could activate what it holds."""
_NOT_OURS = "kubectl.kubernetes.io/last-applied-configuration"

Key = tuple[str, str]
"""Namespace and name in the archive."""


def body_of(manifest: Manifest, namespace: str) -> Manifest:
    """Return what is created: without status, uid, times and owners, which belong to the former object."""
    metadata = manifest["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _NOT_OURS}
    kept = {"labels": metadata.get("labels"), "annotations": annotations}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": namespace,
            **{key: value for key, value in kept.items() if value},
        },
        "spec": manifest["spec"],
    }


def key_of(manifest: Manifest) -> Key:
    """Return where an object was."""
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def request(manifest: Manifest) -> str:
    """Say why a request is not made again: it is signed with one's own name, and must never be executed twice."""
    if manifest["kind"] != PROMPT_ROLLBACK.kind or manifest["spec"].get("decision"):
        return ""
    answer = (manifest.get("status") or {}).get("record")
    if answer:
        return f"a request is not made again; its answer is record {answer}"
    return f"a request is not made again; it was not answered: ask {manifest['spec'].get('requestedBy')}"


def changed(manifest: Manifest) -> str:
    """Say that the content of a version is not the one that its status knows; nothing for all else."""
    if manifest["kind"] != PROMPT_VERSION.kind:
        return ""
    metadata = {"uid": "", "resourceVersion": "", **manifest["metadata"]}
    verified = record_of({**manifest, "metadata": metadata}).verified()
    return "" if verified else "its content was not the one first seen or declared when the backup was taken"


def forgotten(prompt: Manifest, records: Collection[Key], others: Iterable[Manifest] = ()) -> list[str]:
    """Return the versions of a prompt that are held, and whose hold none of these records would bring back.

    Args:
        prompt: the Prompt as it was, with its status.
        records: the PromptRollbacks that are there.
        others: all PromptRollbacks of the archive.
    """
    namespace, name = key_of(prompt)
    held: list[dict[str, Any]] = (prompt.get("status") or {}).get("held") or []
    lost = {each["version"] for each in held if (namespace, each.get("record") or "") not in records}
    lost |= {
        each["spec"]["fromVersion"]
        for each in others
        if _holds(each) and _is_of(each, namespace, name) and key_of(each) not in records
    }
    return sorted(lost)


def _holds(record: Manifest) -> bool:
    return record["spec"].get("decision") == "Executed" and "release" not in record["spec"]


def _is_of(record: Manifest, namespace: str, prompt: str) -> bool:
    return (record["metadata"]["namespace"], record["spec"]["promptRef"]["name"]) == (namespace, prompt)
