"""The faults of a metric source, and what each does to a rule that is Normal, Pending or Firing when it begins.

The rows are what `test_metric_faults.py` expects, and the table in docs/failure-modes.md, which
`python -m tests.faults.metric_faults` writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "failure-modes.md"
BEGIN, END = "<!-- written: python -m tests.faults.metric_faults -->\n", "<!-- end of the written part -->\n"
HEAD = ("fault", "made by", "a Normal rule", "a Pending rule", "a Firing rule", "rolls back on it", "reason")


class By(StrEnum):
    """Who makes the fault."""

    SERVER = "HTTP server in front"
    """A server on loopback that stands for the address of a real Prometheus while the fault lasts."""
    NOBODY = "nobody listens"
    PROMETHEUS = "Prometheus"
    """The samples that a real Prometheus holds, or that Prometheus itself: halted, held to a limit, or ended."""
    CLOCK = "operator's clock"


@dataclass(frozen=True)
class Fault:
    """One fault of an hour: the states of three rules, before, while it lasts, and after it.

    The rules are about the same version, half of whose requests fail: one waits for more than that, one asks for it to
    last 30 minutes of which 10 have passed, one fires and would roll back.
    """

    name: str
    by: By
    normal: tuple[str, ...]
    pending: tuple[str, ...]
    firing: tuple[str, ...]
    reason: str
    """Of the verdict while it lasts."""
    judged: bool = False
    """The answers count as evidence, also for a rollback."""

    def row(self) -> tuple[str, ...]:
        """Return it as a row of the table."""
        states = (" → ".join(each) for each in (self.normal, self.pending, self.firing))
        return (
            self.name,
            str(self.by),
            *states,
            "if the evidence says so" if self.judged else "no",
            f"`{self.reason}`",
        )


def _unknown(name: str, by: By, reason: str) -> Fault:
    """Return the usual row: nothing is known while it lasts, and everything goes on after it where it stood."""
    return Fault(
        name,
        by,
        normal=("Normal", "Unknown", "Normal"),
        pending=("Pending", "Unknown", "Pending"),
        firing=("Firing", "Unknown", "Firing"),
        reason=reason,
    )


def _harmless(name: str, by: By, *, pending: tuple[str, ...] = ("Pending", "Firing")) -> Fault:
    """Return the row of a fault that does not touch what rules see."""
    return Fault(name, by, ("Normal",), pending, ("Firing",), "Breached", judged=True)


FAILED, EMPTY = "QueryFailed", "NoData"
TIMEOUT = "timeout"
TOO_MUCH = "422, a query reads too much"
REFUSED = "refused"
RESTARTED = "Prometheus stopped, then started again"
TENFOLD = "10x duplicate scrape"
AHEAD, BEHIND = "clock 10 minutes ahead", "clock 10 minutes behind"
FAULTS = (
    _unknown(TIMEOUT, By.PROMETHEUS, FAILED),
    _unknown(REFUSED, By.NOBODY, FAILED),
    _unknown("400", By.SERVER, FAILED),
    _unknown(TOO_MUCH, By.PROMETHEUS, FAILED),
    *(_unknown(status, By.SERVER, FAILED) for status in ("429", "500", "503")),
    _unknown("half a body", By.SERVER, FAILED),
    _unknown("wrong JSON", By.SERVER, FAILED),
    _unknown("warnings", By.SERVER, FAILED),
    _unknown("partial answer (isPartial)", By.SERVER, FAILED),
    _unknown("duplicate series in the answer", By.SERVER, "DuplicateSeries"),
    _unknown("empty vector", By.SERVER, EMPTY),
    _unknown("NaN", By.PROMETHEUS, "NotANumber"),
    _unknown("+Inf", By.PROMETHEUS, "NotANumber"),
    _unknown("stale series", By.PROMETHEUS, EMPTY),
    _harmless("counter reset", By.PROMETHEUS),
    _harmless(TENFOLD, By.PROMETHEUS),
    _unknown(RESTARTED, By.PROMETHEUS, FAILED),
    _unknown(AHEAD, By.CLOCK, EMPTY),
    _harmless(BEHIND, By.CLOCK, pending=("Pending",)),
)


def table() -> str:
    """Return the table as Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), *(fault.row() for fault in FAULTS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str) -> str:
    """Return the page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, "the page has lost the marks around the table"
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
