"""Metrics with bounded labels, and log lines that machines and people can read."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from prompt_operator.telemetry import JsonLines, PlainText, Telemetry, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDED = {
    "action",
    "channel",
    "code",
    "guard",
    "how",
    "kind",
    "mode",
    "name",
    "outcome",
    "queue",
    "reason",
    "result",
    "sink",
    "state",
    "trigger",
    "verb",
    "version",
    "window",
    "writer",
    "source",
}


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(level: int = logging.INFO, message: str = "done %s", *args: object) -> logging.LogRecord:
    """Return a record of a fixed instant."""
    made = logging.makeLogRecord({"name": "x", "levelno": level, "levelname": logging.getLevelName(level)})
    made.msg, made.args, made.created, made.msecs = message, args, 1_795_246_696.25, 250
    return made


def test_two_processes_in_one_do_not_share_metrics() -> None:
    """Each Telemetry has its own registry; nothing is registered globally."""
    one, two = Telemetry(), Telemetry()
    one.hash_mismatches.inc()
    name = "prompt_operator_hash_mismatches_total"
    assert (one.registry.get_sample_value(name), two.registry.get_sample_value(name)) == (1, 0)


def test_labels_are_from_bounded_sets() -> None:
    """No metric carries a prompt's or namespace's name."""
    telemetry = Telemetry()
    labels = {label for metric in telemetry.registry._collector_to_names for label in metric._labelnames}  # type: ignore[attr-defined]
    assert labels <= BOUNDED


def test_sizes_and_the_process_itself_are_shown() -> None:
    """Store sizes are read by kind at a scrape; the process's memory appears when asked for."""
    telemetry = Telemetry()
    telemetry.observe_store({"Prompt": lambda: 3})
    telemetry.collect_process()
    value = telemetry.registry.get_sample_value
    assert value("prompt_operator_store_objects", {"kind": "Prompt"}) == 3
    assert (value("process_resident_memory_bytes") or 0) > 0


def test_json_lines_are_utc_and_carry_extras_and_tracebacks() -> None:
    """One object a line: time, level, logger, message, then what the caller added."""
    made = record(logging.ERROR, "projected %s", "team/greeting")
    made.prompt = "team/greeting"
    try:
        int("two\nlines")
    except ValueError:
        made.exc_info = sys.exc_info()
    text = JsonLines().format(made)
    line = json.loads(text)
    assert "\n" not in text
    assert line.pop("traceback").endswith(r"'two\nlines'")
    assert line == {
        "time": "2026-11-21T07:38:16.250Z",
        "level": "error",
        "logger": "x",
        "message": "projected team/greeting",
        "prompt": "team/greeting",
    }


def test_plain_lines_are_utc() -> None:
    """The form for people has the same instant, whatever the machine's zone is."""
    assert PlainText().format(record(logging.INFO, "done")) == "2026-11-21T07:38:16.250Z INFO    x: done"


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("level", "kopf"), [("debug", logging.WARNING), ("error", logging.ERROR)])
def test_loggers_that_print_whole_objects_stay_quiet(level: str, kopf: int) -> None:
    """At debug level ours speaks and kopf, which would print prompt text, does not; at error level neither warns."""
    configure_logging("text", level)
    assert logging.getLogger("prompt_operator").getEffectiveLevel() == logging.getLevelName(level.upper())
    assert logging.getLogger("kopf.objects").getEffectiveLevel() == kopf
    assert len(logging.getLogger().handlers) == 1
