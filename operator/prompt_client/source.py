"""Where a prompt comes from: the mounted folder, else the last good copy on disk.

kubelet publishes a ConfigMap by writing a new timestamped folder and then swapping the symlink `..data` to it. A read
resolves that link once, so that it never mixes files of two publications.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from prompt_client import wire
from prompt_client.snapshot import Snapshot, WireError, parse_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger("prompt_client")

Origin = Literal["configmap", "cache", "fallback", "error"]
"""Values of the label `source` of `llm_prompt_loads_total`."""

ORIGINS: Final[tuple[Origin, ...]] = ("configmap", "cache", "fallback", "error")

_READ: Final = (wire.PROMPT_JSON, wire.VERSION, wire.HASH, wire.MODE)
_ATTEMPTS: Final = 5  # kubelet removes a folder some milliseconds after the swap: two attempts are usual


@dataclass(frozen=True, slots=True)
class Loaded:
    """A verified snapshot, where it came from and when (monotonic clock, seconds)."""

    snapshot: Snapshot
    origin: Origin
    at: float


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read the keys this client needs from one publication.

    A folder without `..data` (a plain copy, for development) is read as it stands.

    Raises:
        OSError: the folder or `prompt.json` cannot be read.
    """
    for _ in range(_ATTEMPTS - 1):
        published = _published(folder)
        try:
            return _read(published)
        except FileNotFoundError:
            if _published(folder) == published:
                raise  # not swapped under our hands: it is really missing
    return _read(_published(folder))


def _published(folder: Path) -> Path:
    link = folder / "..data"
    try:
        return folder / os.readlink(link)  # noqa: PTH115 - resolve() would follow further links
    except OSError:
        return folder


def _read(published: Path) -> dict[str, bytes]:
    files = {wire.PROMPT_JSON: (published / wire.PROMPT_JSON).read_bytes()}
    for key in _READ[1:]:
        with contextlib.suppress(FileNotFoundError):
            files[key] = (published / key).read_bytes()
    # A folder removed between two reads looks like one with fewer keys; the read of a file that must exist tells.
    (published / wire.PROMPT_JSON).stat()
    return files


def verify(files: Mapping[str, bytes], name: str) -> Snapshot:
    """Parse the files of one publication and check that they agree with each other.

    Raises:
        WireError: they break the wire contract, belong to another prompt, or contradict each other.
    """
    snapshot = parse_snapshot(files[wire.PROMPT_JSON])
    if snapshot.name != name:
        raise WireError(f"the folder of prompt {name} holds prompt {snapshot.name}: correct the mount")
    expected = {wire.MODE: snapshot.mode}
    if snapshot.active and snapshot.mode == wire.MODE_ACTIVE:
        expected |= {wire.VERSION: snapshot.active.version, wire.HASH: snapshot.active.hash}
    for key, value in expected.items():
        if files.get(key, value.encode()).strip() != value.encode():
            raise WireError(f"{key} contradicts prompt.json: somebody edited the ConfigMap")
    return snapshot


class Source:
    """One prompt's folder and its optional copy on disk. Keeps the last good snapshot through every bad input.

    Not thread-safe: the caller lets one thread at a time refresh.
    """

    def __init__(self, name: str, folder: Path, cache: Path | None, count: Callable[[Origin], None]) -> None:
        self.name = name
        self.folder = folder
        self.loaded: Loaded | None = None
        self.problem: str | None = None
        self._cache = cache
        self._count = count
        self._seen: Mapping[str, bytes] | None = None  # the files last judged, good or bad
        self._logged: set[str] = set()

    def refresh(self) -> None:
        """Look at the folder. Never raises: a bad or missing publication changes `problem`, not what is served."""
        try:
            self._load()
        except (OSError, WireError) as error:
            self._keep(error)

    def _load(self) -> None:
        files = read_folder(self.folder)
        if files == self._seen:
            return
        self._seen = files
        snapshot = verify(files, self.name)
        self.loaded = Loaded(snapshot, "configmap", time.monotonic())
        self.problem = None
        self._logged.clear()
        self._count("configmap")
        self._save(files[wire.PROMPT_JSON])

    def _keep(self, error: OSError | WireError) -> None:
        """Stay with what is served; at the start, when nothing is, look for the copy on disk."""
        problem = self._describe(error)
        if isinstance(error, OSError):
            self._seen = None  # whatever comes back is judged anew
        if isinstance(error, WireError) or problem != self.problem:
            self._count("error")  # a folder that stays away is one error, not one per look
        self.problem = problem
        if self.loaded is None:
            self.loaded = self._cached()
            if self.loaded:
                self._count("cache")
        kept = f"still serving {_label(self.loaded)}" if self.loaded else "nothing to serve from the folder"
        self._log_once("prompt %s: %s; %s", self.name, self.problem, kept)

    def _cached(self) -> Loaded | None:
        if self._cache is None:
            return None
        try:
            snapshot = verify({wire.PROMPT_JSON: self._cache.read_bytes()}, self.name)
        except FileNotFoundError:
            return None
        except (OSError, WireError) as error:
            self._log_once("prompt %s: the copy on disk is not usable: %s", self.name, error)
            return None
        return Loaded(snapshot, "cache", time.monotonic())

    def _save(self, raw: bytes) -> None:
        if self._cache is None:
            return
        try:
            _write_atomically(self._cache, raw)
        except OSError as error:
            self._log_once("prompt %s: no copy kept on disk: %s", self.name, error)

    def _describe(self, error: OSError | WireError) -> str:
        if isinstance(error, FileNotFoundError):
            where = f"{wire.PROMPT_JSON} is missing in {self.folder}"
            return f"{where}: mount the whole ConfigMap as a folder, never single files by subPath"
        return str(error)

    def _log_once(self, message: str, *args: object) -> None:
        text = message % args
        if text not in self._logged:
            self._logged.add(text)
            logger.warning("%s", text)


def _label(loaded: Loaded) -> str:
    active = loaded.snapshot.active
    return f"{active.version if active else 'the fallback'} from {loaded.origin}"


def _write_atomically(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
