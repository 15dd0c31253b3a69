"""Parts of the bench on real programs, with fewer prompts and faster ticks than people get."""

import time
from pathlib import Path

import pytest

from devcluster.bench import burst, load, rules
from devcluster.bench.api import Api
from devcluster.bench.audit import AuditLog
from devcluster.bench.fleet import SERIES
from devcluster.controlplane import ControlPlane
from devcluster.http import get_json
from devcluster.operatorprocess import OperatorProcess
from devcluster.paths import REPO
from devcluster.progress import Progress

PROMPTS, TICKS = 4, 3


def test_rules_are_judged_against_what_is_scraped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every series is there, each tick asks and gets answers, and what they cost is told."""
    monkeypatch.setattr(rules, "SCRAPE", 1)
    monkeypatch.setattr(rules, "TICK", 1)
    monkeypatch.setattr(rules, "_FILLED", 5.0)
    monkeypatch.setattr(rules, "_TICKS", TICKS)
    figures = rules.measure(tmp_path, PROMPTS, 2, Progress())

    assert (figures["prompts"], figures["namespaces"], figures["failing"]) == (PROMPTS, 2, [])
    assert figures["series"] == PROMPTS * SERIES
    assert figures["rules"] > 10
    assert figures["first"]["queries"] >= figures["median"]["queries"] > 0
    assert figures["first"]["samples"] >= figures["median"]["samples"] > 0
    assert figures["most"]["rss_mib"] > figures["empty_mib"] > 0


def test_prompts_that_change_at_once_are_counted_until_the_last_follows(plane: ControlPlane, tmp_path: Path) -> None:
    """All ConfigMaps say the new version when it ends, and both rates are told."""
    plane.apply_crds(REPO / "crds")
    with Api(plane) as api:
        for namespace in load.namespaces():
            load.make_namespace(api, namespace)
        load.fill(api, PROMPTS, 2 * PROMPTS)
        operator = OperatorProcess(tmp_path, plane.kubeconfig, "http://127.0.0.1:9", tick=15, more=["--audit=off"])
        operator.start()
        try:
            deadline = time.monotonic() + 120
            while get_json(f"{operator.url}/healthz")["prompts"]["serving"] < PROMPTS:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            figures = burst.measure(api, AuditLog(plane.audit_log, "prompt-operator"), operator.pid, PROMPTS)
        finally:
            operator.stop()
        config_maps = [each for name in load.namespaces() for each in api.list(f"api/v1/namespaces/{name}/configmaps")]
        assert [each["data"]["version"] for each in config_maps if "prompt.json" in each["data"]] == ["1.1.0"] * PROMPTS
        assert figures["projected_per_s"] > 0
        assert figures["bare_per_s"] > 0
