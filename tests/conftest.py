"""Options of the whole suite, and the promise that CI leaves nothing out."""

import os

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
if os.environ.get("CI") != "true":  # there Hypothesis sets no deadline by itself: a busy machine proves nothing
    settings.load_profile("patient")

TIERS = ("local", "kind", "current")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the cluster the tests in tests/cluster run against."""
    parser.addoption(
        "--cluster",
        choices=TIERS,
        default="local",
        help="local (default): programs on loopback; kind: a kind cluster in Docker; current: the current kubeconfig",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run that skipped anything: a test that cannot run there proves nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    if skipped := reporter.stats.get("skipped"):
        reporter.write_line(f"{len(skipped)} tests were skipped; in CI none may be", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
