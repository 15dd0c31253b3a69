"""The control plane: real, on loopback, with users and an audit log."""

import json
from pathlib import Path

import pytest
from tests.devcluster.support import eventually

from devcluster.controlplane import ControlPlane
from devcluster.errors import DevError


def listening_addresses(pid: int) -> set[str]:
    """The local addresses a process listens on, as /proc writes them: hexadecimal, without the port."""
    sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].rpartition(":")[0])
    return found


def test_a_taken_port_is_replaced(plane: ControlPlane) -> None:
    """The port chosen first is somebody else's, and the control plane starts all the same."""
    assert plane.version().startswith("v1.36.")


def test_everything_listens_on_loopback_only(plane: ControlPlane) -> None:
    """No program of the control plane can be reached from another machine."""
    addresses = set.union(*(listening_addresses(pid) for pid in plane.pids.values()))
    assert addresses == {"0100007F"}


def test_the_audit_log_has_one_line_for_each_write_and_none_for_reads(plane: ControlPlane) -> None:
    """Counting writes in the audit log counts all of them and nothing else."""
    plane.kubectl("create", "configmap", "audited", "--from-literal=a=1")
    plane.kubectl("get", "configmap", "audited")

    def lines() -> list[dict[str, object]]:
        events = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
        return [event for event in events if event.get("objectRef", {}).get("name") == "audited"]

    assert eventually(lines)
    assert [event["verb"] for event in lines()] == ["create"]
    assert [event["stage"] for event in lines()] == ["ResponseComplete"]


def test_static_users_have_their_groups_and_no_rights(plane: ControlPlane) -> None:
    """RBAC is real: users given at the start are known by name and group, and may do nothing yet."""
    carol = plane.kubeconfig_for("carol")
    assert "auditors" in plane.kubectl("auth", "whoami", kubeconfig=carol).stdout
    refused = plane.kubectl("get", "pods", kubeconfig=carol, check=False)
    assert refused.returncode != 0
    assert 'User "carol" cannot list' in refused.stderr


def test_a_service_account_gets_a_token(plane: ControlPlane) -> None:
    """Tokens are signed and accepted, so the operator's own service account can be used in tests."""
    shown = plane.kubectl("auth", "whoami", kubeconfig=plane.kubeconfig_for("system:serviceaccount:default:default"))
    assert "system:serviceaccount:default:default" in shown.stdout


def test_an_unknown_user_is_named(plane: ControlPlane) -> None:
    """A typing error in a user's name says which users there are."""
    with pytest.raises(DevError, match="known are admin, alice, bob, carol"):
        plane.kubeconfig_for("carl")


def test_a_failing_kubectl_says_what_kubectl_said(plane: ControlPlane) -> None:
    """The error of kubectl reaches the reader of the test."""
    with pytest.raises(DevError, match="nothing-here"):
        plane.kubectl("get", "configmap", "nothing-here")


def test_the_garbage_collector_works_at_once(plane: ControlPlane) -> None:
    """A dependant goes with its owner within seconds, not with the next discovery of kinds."""
    plane.kubectl("create", "configmap", "owner")
    uid = plane.kubectl("get", "configmap", "owner", "--output=jsonpath={.metadata.uid}").stdout
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "ownerReferences": [owner]}}
    plane.kubectl("create", "--filename=-", input=json.dumps(child))
    plane.kubectl("delete", "configmap", "owner")
    assert eventually(lambda: plane.kubectl("get", "configmap", "child", check=False).returncode != 0)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    """A wrong flag ends in the server's own words, and leaves no process behind."""
    with pytest.raises(DevError, match="unknown flag: --no-such-flag"):
        ControlPlane.start(tmp_path, extra_apiserver_flags=["--no-such-flag"])
    assert not (tmp_path / "processes.json").exists()


def test_pids_are_the_programs(plane: ControlPlane) -> None:
    """The pids that memory is measured with belong to running programs of that name."""
    assert set(plane.pids) == {"etcd", "kube-apiserver", "kube-controller-manager"}
    for name, pid in plane.pids.items():
        assert Path(f"/proc/{pid}/exe").readlink().name == name
