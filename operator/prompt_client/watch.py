"""Noticing that kubelet published something: inotify where it is to be had, else polling.

Both are level-triggered: after every wake all folders are looked at again, so that a lost event costs time, never
correctness.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

logger = logging.getLogger("prompt_client")

Reload = Literal["events", "poll", "off"]
RELOADS: Final[tuple[Reload, ...]] = ("events", "poll", "off")

POLL_SECONDS: Final = 5.0
DEBOUNCE_SECONDS: Final = 0.3
_SAFETY_SECONDS: Final = 60.0  # a look without an event: inotify is silent on some network and overlay mounts
_CLOSE_SECONDS: Final = 5.0

# <sys/inotify.h>; the swap of `..data` arrives as IN_MOVED_TO, the others cover folders that people edit by hand.
_IN_CLOSE_WRITE: Final = 0x008
_IN_MOVED_TO: Final = 0x080
_IN_CREATE: Final = 0x100
_IN_DELETE_SELF: Final = 0x400
_IN_ONLYDIR: Final = 0x0100_0000
_MASK: Final = _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE_SELF | _IN_ONLYDIR
_BUFFER: Final = 64 * 1024


class _Waiter(Protocol):
    def watch(self, folders: Iterable[Path]) -> None: ...
    def wait(self) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class _Poll:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._woken = threading.Event()

    def watch(self, folders: Iterable[Path]) -> None:
        """Nothing to prepare: every look reads the folders."""

    def wait(self) -> None:
        self._woken.wait(self._seconds)
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        """Nothing is held."""


class _Inotify:
    """Raises OSError where the system has no inotify or refuses one more instance."""

    def __init__(self, seconds: float) -> None:
        # Loaded here and not at the top: most processes that import this package never watch a folder.
        import ctypes  # noqa: PLC0415
        import select  # noqa: PLC0415

        if not sys.platform.startswith("linux"):
            raise OSError("inotify is a Linux facility")
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._wake_read, self._wake_write = os.pipe2(flags)
        self._events = self._libc.inotify_init1(flags)
        if self._events < 0:
            os.close(self._wake_read)
            os.close(self._wake_write)
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._poll = select.poll()
        self._poll.register(self._events, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._retry_seconds = seconds
        self._seconds = _SAFETY_SECONDS

    def watch(self, folders: Iterable[Path]) -> None:
        """Watch every folder again: the same one is the same watch, a re-created one needs a new watch."""
        watched = [self._libc.inotify_add_watch(self._events, os.fsencode(folder), _MASK) >= 0 for folder in folders]
        self._seconds = _SAFETY_SECONDS if all(watched) else self._retry_seconds

    def wait(self) -> None:
        ready = {descriptor for descriptor, _ in self._poll.poll(self._seconds * 1000)}
        if self._events in ready and self._wake_read not in ready:
            self._debounce()
        for descriptor in (self._events, self._wake_read):
            with contextlib.suppress(BlockingIOError):
                while os.read(descriptor, _BUFFER):
                    pass

    def _debounce(self) -> None:
        """Let one publication finish: it is a burst of events. close() ends the pause early."""
        self._poll.unregister(self._events)
        self._poll.poll(DEBOUNCE_SECONDS * 1000)
        self._poll.register(self._events)

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # a full pipe wakes as well
            os.write(self._wake_write, b"w")

    def close(self) -> None:
        for descriptor in (self._events, self._wake_read, self._wake_write):
            os.close(descriptor)


class Watcher:
    """One daemon thread that calls `refresh` whenever a folder may have changed.

    Args:
        reload: `events` (inotify, else polling) or `poll`.
        folders: called before every look; gives the folders to watch.
        refresh: called from the thread.
        seconds: interval of polling, and of looking for a folder that does not exist yet.
    """

    def __init__(
        self,
        reload: Reload,
        folders: Callable[[], Iterable[Path]],
        refresh: Callable[[], None],
        seconds: float = POLL_SECONDS,
    ) -> None:
        self._folders = folders
        self._refresh = refresh
        self._waiter = _waiter(reload, seconds)
        self._closed = False
        self._lock = threading.Lock()  # close() may come while the thread is ending
        self._thread = threading.Thread(target=self._run, name="prompt-client", daemon=True)
        self._thread.start()

    @property
    def kind(self) -> Reload:
        """What is in use: `events` or `poll`."""
        return "events" if isinstance(self._waiter, _Inotify) else "poll"

    def wake(self) -> None:
        """Look now: the set of folders has changed."""
        with self._lock:
            if not self._closed:
                self._waiter.wake()

    def close(self) -> None:
        """End the thread and release what it holds; closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._waiter.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_SECONDS)

    def abandon(self) -> None:
        """Release what a fork copied: the child has the descriptors, not the thread."""
        self._waiter.close()

    def _look(self) -> None:
        try:
            self._refresh()
        except Exception as error:  # noqa: BLE001 - a dead thread would serve a stale prompt for ever
            # The type only: a message could hold prompt text.
            logger.error("looking at the folders failed (%s); trying again", type(error).__name__)  # noqa: TRY400

    def _run(self) -> None:
        while not self._closed:
            self._waiter.watch(self._folders())
            self._look()
            self._waiter.wait()
        with self._lock:
            self._waiter.close()


def _waiter(reload: Reload, seconds: float) -> _Waiter:
    if reload == "events":
        try:
            return _Inotify(seconds)
        except (OSError, ImportError, AttributeError) as error:
            logger.warning("no inotify (%s): looking at the folders every %g s instead", error, seconds)
    return _Poll(seconds)
