"""Locks between processes on folders that exist anyway, so no lock file is left behind."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from devcluster.progress import Progress


@contextlib.contextmanager
def locked(folder: Path, waiting: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of `folder`; say `waiting` first when another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(waiting)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
