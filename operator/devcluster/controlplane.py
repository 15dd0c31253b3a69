"""A Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager, without nodes."""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import http, kubeconfig, tools
from devcluster.cluster import Cluster
from devcluster.errors import DevError
from devcluster.kubeconfig import User
from devcluster.ports import LOOPBACK, free_port
from devcluster.processes import ProcessSet, Running
from devcluster.progress import Progress

_START_DEADLINE = 90.0  # seconds until /readyz; 3 on an idle machine
_ATTEMPTS = 4
_PORT_TAKEN = "address already in use"
_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
_CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
)
# One JSON line for each request that changes something; reads and watches would drown them.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
}


class PortTakenError(Exception):
    """Somebody took the port between choosing and binding it."""


@dataclass
class ControlPlane(Cluster):
    """A running control plane; make one with `start` or find one with `attach`.

    `kubeconfig` holds a token of system:masters. `users` are the static users by name: `admin`, `alice` and `bob`
    (both in group `developers`, without any right), and those given to `start`.
    """

    processes: ProcessSet = field(repr=False)

    @classmethod
    def start(
        cls,
        state_dir: Path,
        *,
        audit: bool = True,
        extra_apiserver_flags: Sequence[str] = (),
        tokens: Mapping[str, Sequence[str]] | None = None,
        crds: Path | None = None,
        detached: bool = False,
        progress: Progress | None = None,
    ) -> "ControlPlane":
        """Start an empty control plane with its state in `state_dir` and wait until it is ready.

        `tokens` adds static users (name -> groups). The manifests in `crds` are applied before the controller
        manager starts: its garbage collector then knows the kinds at once instead of up to 30 seconds later.
        `detached` lets the processes outlive this one. Raises DevError with the last log lines when it does not start.
        """
        state_dir = state_dir.absolute()
        bin_dir = tools.ensure("kubernetes", progress)
        processes = ProcessSet(state_dir, detached=detached)
        processes.stop()
        state_dir.mkdir(parents=True, exist_ok=True)
        _forget(state_dir)
        plane = cls(state_dir, bin_dir, "", _certificate(state_dir), kubeconfig.users(tokens or {}), processes)
        try:
            plane._boot(_apiserver_flags(state_dir, audit=audit) + list(extra_apiserver_flags), crds)
        except BaseException:
            processes.stop()
            raise
        return plane

    @classmethod
    def attach(cls, state_dir: Path) -> "ControlPlane | None":
        """Return the detached control plane of `state_dir` when all of it still runs, else None."""
        processes = ProcessSet(state_dir.absolute(), detached=True)
        try:
            saved = json.loads((state_dir / "cluster.json").read_text("utf-8"))
            users = {name: User(name, user["token"], tuple(user["groups"])) for name, user in saved["users"].items()}
            bin_dir, ca_file = Path(saved["bin_dir"]), _certificate(state_dir.absolute())
            plane = cls(state_dir.absolute(), bin_dir, saved["url"], ca_file, users, processes)
        except (OSError, ValueError, KeyError):
            return None
        alive = len(processes.recorded) >= len(_PROGRAMS) and all(process.alive for process in processes.recorded)
        return plane if alive and plane._ready() else None

    @property
    def audit_log(self) -> Path:
        """JSON lines, one for each finished request but get, list and watch."""
        return self.state_dir / "audit.log"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by program name."""
        return {process.name: process.pid for process in self.processes.recorded}

    def stop(self) -> None:
        """End all processes; the state stays for reading logs."""
        self.processes.stop()

    def _boot(self, apiserver_flags: list[str], crds: Path | None) -> None:
        etcd_url = _retried(self._start_etcd)
        self.url = _retried(lambda: self._start_apiserver([f"--etcd-servers={etcd_url}", *apiserver_flags]))
        kubeconfig.write_kubeconfig(self.kubeconfig, url=self.url, ca_file=self.ca_file, token=self.admin_token)
        if crds is not None:
            self.apply_crds(crds)
        manager = self.processes.spawn(
            "kube-controller-manager", [str(self.bin_dir / "kube-controller-manager"), *_manager_flags(self.kubeconfig)]
        )
        self._wait("kube-controller-manager", manager, self._has_default_namespace)
        users = {user.name: {"token": user.token, "groups": user.groups} for user in self.users.values()}
        saved = {"url": self.url, "bin_dir": str(self.bin_dir), "users": users}
        kubeconfig.write_private(self.state_dir / "cluster.json", json.dumps(saved))

    def _start_etcd(self) -> str:
        url = f"http://{LOOPBACK}:{free_port()}"
        peer = f"http://{LOOPBACK}:{free_port()}"
        name = f"devcluster-{secrets.token_hex(8)}"
        flags = [
            f"--name={name}",
            f"--data-dir={self.state_dir / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={name}={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        process = self.processes.spawn("etcd", [str(self.bin_dir / "etcd"), *flags])
        self._wait("etcd", process, lambda: _is_etcd(url, name))
        return url

    def _start_apiserver(self, flags: list[str]) -> str:
        port = free_port()
        kubeconfig.write_private(self.state_dir / "tokens.csv", "\n".join(user.line for user in self.users.values()))
        kubeconfig.write_private(self.state_dir / "service-account.key", kubeconfig.signing_key())
        command = [str(self.bin_dir / "kube-apiserver"), f"--secure-port={port}", *flags]
        self.url = f"https://{LOOPBACK}:{port}"
        self._wait("kube-apiserver", self.processes.spawn("kube-apiserver", command), self._ready)
        return self.url

    def _wait(self, name: str, process: Running, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_DEADLINE
        while not ready():
            ended = self.processes.exited(process)
            if ended and _PORT_TAKEN in self.processes.log(name).read_text("utf-8", "replace"):
                self.processes.stop([name])
                raise PortTakenError
            if ended or time.monotonic() > deadline:
                how = "ended" if ended else f"was not ready within {_START_DEADLINE:.0f} seconds"
                raise DevError(f"{name} {how}; the end of {self.processes.log(name)}:\n{self.processes.tail(name)}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        return self.ca_file.exists() and http.answers(f"{self.url}/readyz", self.ca_file, self.admin_token)

    def _has_default_namespace(self) -> bool:
        return http.answers(
            f"{self.url}/api/v1/namespaces/default/serviceaccounts/default", self.ca_file, self.admin_token
        )


def _forget(state_dir: Path) -> None:
    """Remove what an earlier control plane left, and nothing else: the folder may be anybody's."""
    for folder in ("etcd", "certs", "kubectl-cache"):
        shutil.rmtree(state_dir / folder, ignore_errors=True)
    for file in ("audit.log", "cluster.json"):
        (state_dir / file).unlink(missing_ok=True)


def _is_etcd(url: str, name: str) -> bool:
    """Whether our own etcd answers: the one of another clone may have taken the port."""
    reply = http.probe_json(f"{url}/v3/cluster/member/list", {})
    return reply is not None and [member.get("name") for member in reply["members"]] == [name]


def _certificate(state_dir: Path) -> Path:
    """The certificate the API server makes for itself, with the authority that signed it."""
    return state_dir / "certs" / "apiserver.crt"


def _apiserver_flags(state_dir: Path, *, audit: bool) -> list[str]:
    key = state_dir / "service-account.key"
    flags = [
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--cert-dir={state_dir / 'certs'}",
        "--authorization-mode=Node,RBAC",
        f"--token-auth-file={state_dir / 'tokens.csv'}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--endpoint-reconciler-type=none",
    ]
    if not audit:
        return flags
    policy = kubeconfig.write_private(state_dir / "audit-policy.json", json.dumps(_AUDIT_POLICY))
    return [*flags, f"--audit-policy-file={policy}", f"--audit-log-path={state_dir / 'audit.log'}"]


def _manager_flags(config: Path) -> list[str]:
    # Deleting a namespace lists every kind in it: at the default 20 requests a second that alone takes seconds.
    return [
        f"--kubeconfig={config}",
        f"--controllers={','.join(_CONTROLLERS)}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
    ]


def _retried(start: Callable[[], str]) -> str:
    for _ in range(_ATTEMPTS - 1):
        try:
            return start()
        except PortTakenError:
            continue
    try:
        return start()
    except PortTakenError as error:
        raise DevError(f"Every port tried on {LOOPBACK} was taken by the time it was used; run it again.") from error
