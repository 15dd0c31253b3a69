"""Sinks that are streams: standard output, and a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prompt_operator.core.audit.chain import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_READ_BACK = 8 * 2**20
"""Bytes of a file and of those it was rotated from that are read at the start: some thousand entries."""
_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"})
_MODE = 0o640
_STDOUT = 1


async def in_thread(work: Callable[[], T]) -> T:
    """Do what may hang in a thread of its own, which keeps nobody from ending: a full pipe, a lost volume."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  it belongs to whoever waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="audit", daemon=True).start()
    return await future


class StdoutSink:
    """Lines on standard output, for the cluster's log pipeline; the operator's log goes to standard error."""

    kind = "stdout"

    async def read_back(self) -> Sequence[bytes]:
        """Return nothing: what was printed is gone."""
        return ()

    async def append(self, lines: Sequence[bytes]) -> None:
        """Print the lines, past the buffer of `sys.stdout`: a reader that hangs must not keep Python from ending."""
        await in_thread(lambda: _write(_STDOUT, b"".join(line + b"\n" for line in lines)))

    async def close(self) -> None:
        """Leave it open: it is not ours."""


class FileSink:
    """Lines at the end of a file, each batch flushed to the disk.

    A file that was moved away, as log rotation does it, is opened anew under its name. The moved ones are read back at
    the start as long as they stand beside it, are not compressed, and their names begin with its name.
    """

    kind = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    async def read_back(self) -> Sequence[bytes]:
        """Return the last lines, oldest first."""
        return await in_thread(self._read_back)

    async def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines and flush them; after a failure the file is as it was before."""
        await in_thread(lambda: self._append(b"".join(line + b"\n" for line in lines)))

    async def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, data: bytes) -> None:
        file = self._opened()
        before = os.fstat(file).st_size
        try:
            _write(file, data)
            os.fsync(file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, before)
            raise

    def _opened(self) -> int:
        """Return the file that has the name now, open, its last line whole."""
        if self._file is not None and not self._moved(self._file):
            return self._file
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        self._cut_torn_line(self._file)
        return self._file

    def _moved(self, file: int) -> bool:
        try:
            there, ours = self._path.stat(), os.fstat(file)
        except FileNotFoundError:
            return True
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _cut_torn_line(self, file: int) -> None:
        """Remove what a crash left of a line: it is no entry, and will be told again."""
        size = os.fstat(file).st_size
        tail = os.pread(file, min(size, _READ_BACK), max(size - _READ_BACK, 0))
        torn = len(tail) - (tail.rfind(b"\n") + 1)
        if torn:
            os.ftruncate(file, size - torn)

    def _read_back(self) -> Sequence[bytes]:
        found: list[bytes] = []
        room = _READ_BACK
        for path in self._files():
            data, whole = _tail(path, room)
            lines = list(lines_of(data[: data.rfind(b"\n") + 1]))
            found[:0] = lines if whole else lines[1:]
            room -= len(data)
            if not whole or not room:
                break
        return found

    def _files(self) -> list[Path]:
        """Return the file and those it was rotated from, newest first."""
        beside = [path for path in self._path.parent.glob(f"{self._path.name}?*") if path.suffix not in _COMPRESSED]
        rotated = sorted(filter(Path.is_file, beside), key=lambda path: path.stat().st_mtime, reverse=True)
        return [self._path, *rotated] if self._path.is_file() else rotated


def _write(file: int, data: bytes) -> None:
    """Write all of it; the system may take it in parts."""
    while data:
        data = data[os.write(file, data) :]


def _tail(path: Path, room: int) -> tuple[bytes, bool]:
    """Return at most so many last bytes of a file, and whether that is all of it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - room, 0))
        return file.read(room), size <= room
