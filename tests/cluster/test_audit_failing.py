"""A sink or an anchor that fails or hangs: decisions go on at the same speed, it is said, and told later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import yaml
from tests.cluster.operating import Operated, operated
from tests.cluster.test_audit import ids, prepared
from tests.faults.scene import roll_back

from devcluster.paths import REPO
from prompt_operator.adapters import credentials
from prompt_operator.adapters.audit import Anchor, AuditTrail, SegmentSink, StdoutSink
from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.core.audit import entries
from prompt_operator.core.audit.verify import Checked, verify
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from devcluster.cluster import Cluster
    from devcluster.controlplane import ControlPlane

SOMEBODY = "alice"


def trouble(operator: Operated) -> str:
    """Return what /health/deep says of the trail."""
    assert operator.running is not None
    assert operator.running.trail is not None
    return operator.running.trail.trouble


async def test_a_hanging_sink_delays_no_switch_and_no_end(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody ever reads standard output: the rollback takes place, and the operator can still be ended."""

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(StdoutSink, "append", hang)
    async with operated(cluster.kubeconfig, namespace) as operator:
        await operator.start()
        await prepared(operator)
        await roll_back(operator)
        await operator.stop()


async def test_a_denied_file_is_said_and_written_once_it_can_be(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Something stands where the file should be: rollback and record are there, the line follows when it is gone."""
    log = tmp_path / "audit.jsonl"
    async with operated(cluster.kubeconfig, namespace, audit="file", audit_file=str(log)) as operator:
        log.mkdir()
        await operator.start()
        await prepared(operator)
        record = await roll_back(operator)
        assert "the audit trail (file) cannot be read or written: " in trouble(operator)
        log.rmdir()

        async def is_told() -> bool:
            return log.is_file() and ids(log.read_bytes(), "Rollback") == [record["metadata"]["name"]]

        await operator.until(is_told)
        assert trouble(operator) == ""


async def test_segments_and_anchor_that_are_denied_change_no_other_write(cluster: Cluster, namespace: str) -> None:
    """Their namespace does not exist: the rollback takes place, and both are named as what is wrong."""
    nowhere = f"{namespace}-no"
    settings: dict[str, Any] = {
        "audit": "configMap",
        "audit_name": f"{nowhere}/trail",
        "audit_anchor": f"{nowhere}/heads",
    }
    async with operated(cluster.kubeconfig, namespace, **settings) as operator:
        await operator.start()
        await prepared(operator)
        await roll_back(operator)
        assert (await operator.condition("Serving"))["status"] == "True"
        assert f'namespaces "{nowhere}" not found' in trouble(operator)


async def test_the_installed_role_is_what_the_trail_needs(control_plane: ControlPlane, namespace: str) -> None:
    """Denied by RBAC it waits and says so; with the rules of manifests/audit.yaml, and nothing else, it is written."""
    access = credentials.load(str(control_plane.kubeconfig_for(SOMEBODY)))
    async with ApiCluster(access, Telemetry(), SystemClock(), version="test") as api:
        sink, anchor = SegmentSink(api, namespace, "trail"), Anchor(api, namespace, "heads")
        trail = AuditTrail(sink, anchor, SystemClock(), Telemetry(), writer="pod-a-00000001")
        await trail.start({}, lambda: None, patience=2.0)
        assert "403" in trail.trouble
        control_plane.kubectl("apply", "-f", "-", input=role_in(namespace))
        trail.offer(entries.mode("Active", "Fallback", SystemClock().now()))
        await trail.aclose(grace=60.0)
        assert trail.trouble == ""
        lines = await sink.read_back()
        head = (await anchor.read())[0].head
        assert verify(lines, {head.writer: head}) == Checked(2, (head,))


def role_in(namespace: str) -> str:
    """Return the installed Role, in this namespace and for somebody who has no other right."""
    role, binding = yaml.safe_load_all((REPO / "manifests" / "audit.yaml").read_text("utf-8"))
    for each in (role, binding):
        each["metadata"]["namespace"] = namespace
    binding["subjects"] = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": SOMEBODY}]
    return str(yaml.safe_dump_all([role, binding]))
