"""Progress of long steps on stderr: one moving line on a terminal, a line now and then in a pipe."""

import sys
import time
from typing import TextIO

_PIPE_INTERVAL = 15.0  # seconds between two lines of a step when nobody watches
_TERMINAL_INTERVAL = 0.2


class Progress:
    """Says what is being done, how far it is and how long it has taken.

    `stream` is looked up at each call when not given, so a captured or redirected stderr is honoured.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._last = 0.0
        self._open_line = False

    def say(self, text: str) -> None:
        """Write one line that stays."""
        out = self._out()
        if self._open_line:
            out.write("\r\x1b[K")
            self._open_line = False
        out.write(f"{text}\n")
        out.flush()
        self._last = time.monotonic()

    def tick(self, text: str) -> None:
        """Show `text` as the state of the running step; calls that come too soon are dropped."""
        out = self._out()
        terminal = out.isatty()
        if time.monotonic() - self._last < (_TERMINAL_INTERVAL if terminal else _PIPE_INTERVAL):
            return
        if not terminal:
            self.say(text)
            return
        out.write(f"\r\x1b[K{text[:118]}")
        out.flush()
        self._open_line = True
        self._last = time.monotonic()

    def _out(self) -> TextIO:
        return self._stream or sys.stderr


class Stopwatch:
    """Seconds since it was made, as people read them."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def __str__(self) -> str:
        minutes, seconds = divmod(int(self.seconds), 60)
        return f"{minutes} min {seconds:02d} s" if minutes else f"{self.seconds:.1f} s"
