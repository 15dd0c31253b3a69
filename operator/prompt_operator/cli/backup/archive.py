"""The file that `backup` writes and `restore` reads: a gzipped tar of JSON objects and a manifest of their SHA-256.

Schema 1: `manifest.json` with `format`, `schema`, `createdAt`, `createdBy`, `source` and `files` (path, sha256), and
`objects/<namespace>/<kind>/<name>.json`, each object as the API server gave it without `metadata.managedFields`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_operator.cli.errors import BadFile, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prompt_operator.ports import Manifest

FORMAT = "promptops.dev/backup"
SCHEMA = 1
"""Grows when an older `restore` would misread the archive."""
_MANIFEST = "manifest.json"
_PRIVATE = 0o600  # it holds the text of prompts


@dataclass(frozen=True, slots=True)
class Archive:
    """What one backup holds."""

    created_at: str
    """RFC 3339, by the clock of the cluster."""
    created_by: str
    """Program and version."""
    server: str
    """Address of the API server it was taken from."""
    objects: tuple[Manifest, ...]


def write(archive: Archive, file: str) -> None:
    """Write a new file that only its owner can read; a file that is there is never replaced."""
    content = _packed(archive)
    partial = f"{file}.part"
    try:
        if Path(file).exists():
            raise Refused(f"{file} is there already and was left alone: choose another name.")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as opened:
            os.fchmod(opened.fileno(), _PRIVATE)
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        Path(partial).rename(file)
    except OSError as error:
        raise BadFile(f"{file}: cannot be written: {error.strerror}.") from error


def read(file: str) -> Archive:
    """Read a whole archive.

    Raises:
        BadFile: it cannot be read, is damaged, or is of a newer release; nothing of it is used then.
    """
    try:
        members = _unpacked(Path(file).read_bytes())
        manifest = json.loads(members.pop(_MANIFEST))
        _check_format(file, manifest)
        _check_sums(members, manifest["files"])
        objects = tuple(json.loads(members[path]) for path in sorted(members))
        source = manifest["source"]
        return Archive(manifest["createdAt"], manifest["createdBy"], source["server"], objects)
    except FileNotFoundError as error:
        raise BadFile(f"{file}: cannot be read: {error.strerror}.") from error
    except (OSError, EOFError, zlib.error, tarfile.TarError, LookupError, TypeError, ValueError) as error:
        raise BadFile(f"{file}: this is no whole backup, nothing was restored: {error}") from error


# --- writing


def _packed(archive: Archive) -> bytes:
    files = {path_of(each): json.dumps(each, indent=1, sort_keys=True).encode() for each in archive.objects}
    manifest = {
        "format": FORMAT,
        "schema": SCHEMA,
        "createdAt": archive.created_at,
        "createdBy": archive.created_by,
        "source": {"server": archive.server},
        "files": [{"path": path, "sha256": _sum(files[path])} for path in sorted(files)],
    }
    tar, at = io.BytesIO(), int(datetime.fromisoformat(archive.created_at).timestamp())
    with tarfile.open(fileobj=tar, mode="w") as opened:
        for path, content in [(_MANIFEST, json.dumps(manifest, indent=1).encode()), *sorted(files.items())]:
            member = tarfile.TarInfo(path)
            member.size, member.mode, member.mtime = len(content), _PRIVATE, at
            opened.addfile(member, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), mtime=at)


def path_of(manifest: Manifest) -> str:
    """Return where an object stands in the archive."""
    metadata = manifest["metadata"]
    return f"objects/{metadata['namespace']}/{manifest['kind']}/{metadata['name']}.json"


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- reading


def _unpacked(raw: bytes) -> dict[str, bytes]:
    """Return the members by path; nothing is written to disk, whatever their names are."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw))) as opened:
        found = {member.name: opened.extractfile(member) for member in opened.getmembers()}
        return {name: content.read() for name, content in found.items() if content is not None}


def _check_format(file: str, manifest: Mapping[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']}")
    if manifest["schema"] != SCHEMA:
        raise BadFile(
            f"{file}: written by {manifest['createdBy']} in schema {manifest['schema']}, this kubectl-prompt reads "
            f"schema {SCHEMA}: use one of that release. Nothing was restored."
        )


def _check_sums(members: Mapping[str, bytes], files: Sequence[Mapping[str, str]]) -> None:
    sums = {each["path"]: each["sha256"] for each in files}
    if odd := sorted(sums.keys() ^ members.keys()):
        raise ValueError(f"its list and its content differ in {odd[0]}")
    if changed := [path for path in sorted(members) if _sum(members[path]) != sums[path]]:
        raise ValueError(f"{changed[0]} was changed")
