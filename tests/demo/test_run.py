"""The main job, end to end: the demo as people run it, on real servers, whole, cut short and broken."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.demo import runs
from tests.demo.runs import Run
from tests.devcluster.support import eventually

from devcluster.paths import REPO
from devcluster.processes import Running

DESCRIBED = REPO / "docs" / "describe-after-rollback.txt"


@dataclass
class Whole:
    """A run that is left alone, what it started, and the files it is to write."""

    run: Run
    figures: Path
    described: Path
    started: list[Running] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """The figures, once the run has ended well."""
        assert self.run.wait() == 0, "".join(self.run.lines + self.run.errors)
        read: dict[str, Any] = json.loads(self.figures.read_text("utf-8"))
        return read


def _whole(folder: Path, *arguments: str) -> Whole:
    figures, described = folder / "figures.json", folder / "described.txt"
    temporary = folder / "tmp"
    temporary.mkdir()
    files = ("--json", str(figures), "--describe", str(described))
    return Whole(runs.start(temporary, "devcluster.demo", [*arguments, "--fast", *files]), figures, described)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Whole, Whole]]:
    """A bad and a good release at the same time, begun before the other tests, which take less time than they."""
    wholes = _whole(tmp_path_factory.mktemp("bad release")), _whole(tmp_path_factory.mktemp("good"), "--good")
    for whole in wholes:
        whole.run.until("the application serves 1.0.0")
        whole.started = whole.run.started()
    yield wholes
    for whole in wholes:
        whole.run.process.terminate()
        whole.run.wait()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Run]:
    """A run of the demo that a test disturbs."""
    run = runs.start(tmp_path, "devcluster.demo", ["--fast", "--json", str(tmp_path / "figures.json")])
    yield run
    run.process.terminate()
    run.wait()


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(
    ("signum", "moment", "status"),
    [(signal.SIGTERM, "the operator starts", 143), (signal.SIGINT, "the application serves 1.0.0", 130)],
)
def test_an_interrupt_leaves_nothing(demo: Run, signum: int, moment: str, status: int) -> None:
    """Ctrl-C in the middle, and a kill while everything starts: no process, no file, and a sentence about it."""
    demo.until(moment)
    started = demo.started()
    demo.process.send_signal(signum)

    assert demo.wait() == status
    assert [process for process in started if process.alive] == []
    assert len(started) > 3
    assert list(demo.folder.iterdir()) == []
    assert "nothing is left running" in "".join(demo.errors)


@pytest.mark.usefixtures("both")
def test_a_process_that_ends_is_named_with_its_last_lines(demo: Run) -> None:
    """When the operator dies the demo says so, shows its log's end and what to do, and ends the rest."""
    demo.until("the application serves 1.0.0")
    started = demo.started()
    operator = next(process for process in started if "prompt_operator run" in process.name)
    os.kill(operator.pid, signal.SIGKILL)

    assert demo.wait() == 1
    said = "".join(demo.errors)
    assert "operator ended by itself" in said
    assert "watching all namespaces" in said
    assert "Run the demo again" in said
    assert [process for process in started if process.alive] == []
    assert list(demo.folder.iterdir()) == []


@pytest.mark.usefixtures("both")
def test_the_bench_measures_and_leaves_nothing(tmp_path: Path) -> None:
    """A small bench run writes all its figures, counts no write in idle or after a restart, and cleans up."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    few = ("--prompts=5", "--versions=10", "--changes=5", "--idle=5", "--without-rules", "--without-demo")
    run = runs.start(temporary, "devcluster.bench", [*few, f"--json={tmp_path / 'bench.json'}"])

    assert run.wait() == 0, "".join(run.errors)
    figures = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert figures["apply_to_configmap_ms"].keys() == {"empty", "loaded"}
    assert figures["idle"]["rss_mib"] > 0
    assert figures["idle"]["writes_per_minute"] == figures["restart"]["writes"] == 0
    assert eventually(lambda: list(temporary.iterdir()) == [])


def test_a_bad_version_is_rolled_back(both: tuple[Whole, Whole]) -> None:
    """The main job: rate up, rule pending and firing, rollback, the old version served again, rate down."""
    bad, _ = both
    figures = bad.json()

    assert figures["components"].keys() >= {"kube-apiserver", "prometheus"}
    assert all(version.startswith("v") for version in figures["components"].values())
    assert (figures["activeBefore"], figures["activeAfter"]) == ("1.1.0", "1.0.0")
    assert figures["reason"].startswith("critical-error-rate: error_rate")
    assert figures["recovered"] is True
    assert figures["ruleStates"][:3] == ["Normal", "Pending", "Firing"]
    assert figures["errorRate"]["before"] == figures["errorRate"]["after"] == 0.0
    assert figures["errorRate"]["during"] > 0.05
    assert figures["apply_to_configmap_ms"] > 0
    assert figures["breach_to_switch_s"] > 10  # initialDelay alone is ten seconds
    assert figures["held_to_switch_s"] > -1  # the watch may show Pending a moment late
    assert len(bad.started) > 5
    assert [process for process in bad.started if process.alive] == []
    assert list(bad.run.folder.iterdir()) == []


def test_the_application_knows_a_folder_and_no_cluster(both: tuple[Whole, Whole]) -> None:
    """It serves what the ConfigMap holds without any credential in its environment; only 1.1.0 fails in it."""
    figures = both[0].json()

    assert figures["servedHash"] == figures["configMapHash"]
    assert figures["servedHash"].startswith("sha256:")
    assert not [name for name in figures["applicationEnvironment"] if "KUBE" in name]
    assert figures["answers"]["1.0.0"]["rejected"] == 0
    assert figures["answers"]["1.1.0"]["rejected"] > 0


def test_describe_after_a_rollback_is_as_documented(both: tuple[Whole, Whole]) -> None:
    """What kubectl describes after a fresh run is, but for times and figures, what the README shows."""
    bad, _ = both
    bad.json()

    assert bad.described.read_text("utf-8") == DESCRIBED.read_text("utf-8"), (
        f"run ./operator/dev demo --fast --describe {DESCRIBED.relative_to(REPO)} and put it into the README"
    )


def test_plain_lines_tell_each_thing_once(both: tuple[Whole, Whole]) -> None:
    """In a pipe every scene is one line without colour, and the end shows kubectl's words and what to try next."""
    bad, _ = both
    bad.json()
    said = "".join(bad.run.lines)

    assert "\x1b" not in said
    for scene in ("critical-error-rate: Pending", "critical-error-rate: Firing", "the ConfigMap switched"):
        assert sum(scene in line for line in bad.run.lines) == 1
    assert "Reason:                RolledBack" in said
    assert "./operator/dev demo --good" in said


def test_a_good_version_stays(both: tuple[Whole, Whole]) -> None:
    """The same release with a good text ends without a rollback, in the same time and under the same policy."""
    figures = both[1].json()

    assert figures["rolledBack"] is False
    assert figures["activeAfter"] == "1.1.1"
    assert figures["servedHash"] == figures["configMapHash"]
    assert figures["errorRate"]["during"] == 0.0
    assert figures["ruleStates"] == ["Normal"]


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    """A wrong --json is told before anything starts, not after two minutes."""
    run = runs.start(tmp_path, "devcluster.demo", ["--json", str(tmp_path / "no folder" / "figures.json")])

    assert run.wait() == 2
    assert "cannot be written" in "".join(run.errors)
