"""The audit trail and its anchors, from files or from the cluster's ConfigMaps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from prompt_operator.adapters.audit import SegmentSink
from prompt_operator.adapters.credentials import NoCredentials
from prompt_operator.cli.errors import Unreadable, sentence
from prompt_operator.core.audit.chain import FORM, Malformed, lines_of, read
from prompt_operator.core.audit.held import anchors_of
from prompt_operator.ports import CONFIG_MAP, GiveUp, NotFound, Retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from prompt_operator.cli.options import Reach
    from prompt_operator.core.audit.chain import Head, Line
    from prompt_operator.core.audit.held import Anchored

HOME = "prompt-operator"
"""Namespace of a name without one."""
_MARK = f'"v":"{FORM}"'.encode()


async def lines_in(
    reach: Reach, files: tuple[Path, ...], name: str, *, from_cluster: bool, logs: bool
) -> list[tuple[str, bytes]]:
    """Return each line of the trail and where it stands."""
    if bool(files) == from_cluster:
        raise click.UsageError("Name one or more FILEs, or use --from-cluster.")
    if from_cluster:
        return await _from_cluster(reach, name)
    lines = [placed for file in files for placed in _numbered(str(file), lines_of(_read(file)))]
    return [(place, line) for place, line in lines if _MARK in line] if logs else lines


def _numbered(source: str, lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    return ((f"{source} line {number}", line) for number, line in enumerate(lines, 1))


def _read(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as stream:
            return bytes(stream.read())
    except OSError as error:
        raise Unreadable(f"Cannot read {file}: {error.strerror}.") from error


async def _from_cluster(reach: Reach, name: str) -> list[tuple[str, bytes]]:
    namespace, name = _placed(name)
    try:
        async with reach() as session:
            found = [each async for each in SegmentSink(session.cluster, namespace, name).segments()]
    except (NoCredentials, Retry, GiveUp) as error:
        raise Unreadable(sentence(error)) from error
    if not found:
        raise Unreadable(f"There are no segments {name}-000001 … in namespace {namespace}: is --audit=configMap set?")
    return [placed for segment, lines in found for placed in _numbered(segment, lines)]


async def anchors_at(reach: Reach, name: str, file: Path | None) -> tuple[tuple[Anchored, ...], str]:
    """Return the anchors, and why there are none."""
    if file is not None:
        return _anchors_in(file), ""
    namespace, name = _placed(name)
    try:
        async with reach() as session:
            manifest = await session.cluster.get(CONFIG_MAP, namespace, name)
    except NotFound:
        return (), f"There is no ConfigMap {name} in namespace {namespace}: set --audit-anchor of the operator."
    except (NoCredentials, Retry, GiveUp) as error:
        return (), f"The anchor cannot be read ({error}): give it with --anchor-file."
    return anchors_of(manifest.get("data") or {}), ""


def _anchors_in(file: Path) -> tuple[Anchored, ...]:
    try:
        data = json.loads(_read(file))["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{file} is not a ConfigMap as JSON: kubectl get configmap -o json writes one.") from error
    return anchors_of(data)


def _placed(name: str) -> tuple[str, str]:
    namespace, _, name = name.rpartition("/")
    return namespace or HOME, name


def heads_of(lines: Iterable[bytes], anchors: Iterable[Anchored]) -> dict[str, Head]:
    """Return the anchored heads of this trail: of its kind of sink, as the last takeover names it, and of its writers.

    One anchor may serve one trail after another, where `--audit` was changed. Without an entry any may be meant: of a
    trail that was cut off at its very beginning nothing is left.
    """
    found = entries(lines)
    if not found:
        return {each.head.writer: each.head for each in anchors}
    sinks = [line.members["inputs"]["sink"] for line in found if "sink" in line.members["inputs"]][-1:]
    writers = {line.head.writer for line in found}
    return {each.head.writer: each.head for each in anchors if each.sink in sinks or each.head.writer in writers}


def entries(lines: Iterable[bytes]) -> list[Line]:
    """Return the lines that are entries."""
    found = []
    for raw in lines:
        try:
            found.append(read(raw))
        except Malformed:
            continue  # `audit verify` says where
    return found
