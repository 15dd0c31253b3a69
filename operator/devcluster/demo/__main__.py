"""`./operator/dev demo`: one run, on one screen, or as plain lines where nobody watches a terminal."""

import argparse
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

from devcluster import tools
from devcluster.demo import describe, report, screen
from devcluster.demo.pace import FAST, NORMAL
from devcluster.demo.stage import InterruptedByUser, Stage
from devcluster.demo.story import Story, play
from devcluster.errors import DevError

_INTERRUPTED = 130  # as a shell reports a program ended by Ctrl-C


def main() -> int:
    """Run the demo; 0 only when everything that was promised was seen."""
    options = _options()
    try:
        for group in ("kubernetes", "prometheus"):
            tools.ensure(group)  # before signals become a flag: a build can be cut off anywhere
    except KeyboardInterrupt:
        return _INTERRUPTED
    ending = Ending()
    story = Story(good=options.good, pace=FAST if options.fast else NORMAL)
    stage = Stage(ending.asked, tell=lambda text: setattr(story, "doing", text))
    run = Run(story, stage, options.json, options.describe)
    worker = threading.Thread(target=run.go, name="story")
    worker.start()
    try:
        screen.show(story, worker, plain=not sys.stdout.isatty())
    except BrokenPipeError:  # whoever read along has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ending.asked.set()
    except BaseException:
        ending.asked.set()
        raise
    finally:
        worker.join()
    return run.verdict(ending)


class Ending:
    """Turns signals into a flag: nothing is cut off half-way between starting a process and recording it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.signal = 0
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._asked_for)

    def _asked_for(self, signum: int, _frame: FrameType | None) -> None:
        self.signal = self.signal or signum
        self.asked.set()


class Run:
    """The story in its own thread, its clean-up, and what came of it."""

    def __init__(self, story: Story, stage: Stage, figures: Path | None, described: Path | None) -> None:
        self._story, self._stage = story, stage
        self._figures, self._described = figures, described
        self._problem = ""
        self._epilogue = ""
        self._finished = False

    def go(self) -> None:
        """Play, write what was asked for, and end everything, whatever happens."""
        try:
            play(self._story, self._stage)
            self._write()
            self._finished = True
        except InterruptedByUser:
            pass
        except (DevError, OSError) as error:
            self._problem = str(error)
        except Exception:  # noqa: BLE001 - a thread's exception would leave everything running
            self._problem = f"A fault of the demo itself:\n{traceback.format_exc()}"
        finally:
            self._story.doing = "ending all processes"
            self._stage.close()
            self._story.doing = ""

    def verdict(self, ending: Ending) -> int:
        """Say how it ended and return the exit status."""
        if self._finished:
            sys.stdout.write(self._epilogue)
            return 0
        if ending.asked.is_set():
            sys.stderr.write("interrupted; nothing is left running\n")
            return 128 + (ending.signal or signal.SIGPIPE)
        sys.stderr.write(f"The demo failed. {self._problem}\n")
        return 1

    def _write(self) -> None:
        figures = report.report(self._story, self._stage)
        text = describe.described(self._stage)
        if self._described and not self._story.good:
            report.write_text(self._described, describe.normalised(text))
        if self._figures:
            report.write(self._figures, figures)
        self._epilogue = describe.epilogue(figures, text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./operator/dev demo", description="Release a bad prompt version and watch it being rolled back."
    )
    parser.add_argument("--good", action="store_true", help="release a good version instead: it must stay")
    parser.add_argument("--fast", action="store_true", help="shorten every time but the window of a minute")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write the measured figures")
    parser.add_argument("--describe", type=_file, metavar="FILE", help="write what kubectl describe shows, masked")
    return parser.parse_args()


def _file(text: str) -> Path:
    """A file that can be written; better to know now than after minutes."""
    path = Path(text).absolute()
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {path.parent} is no folder, or it is one itself")
    return path


if __name__ == "__main__":
    sys.exit(main())
