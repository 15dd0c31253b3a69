"""Ends the processes named on standard input when that closes, which it does however its writer ends.

A script of its own: one pid a line, "done" to leave them alone.
"""

import contextlib
import os
import signal
import sys
import time


def main() -> None:
    """Read pids until the pipe closes, then end them."""
    pids: list[int] = []
    for line in sys.stdin:
        if line.strip() == "done":
            return
        pids.append(int(line))
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signum)
        time.sleep(2)


if __name__ == "__main__":
    main()
