"""The cluster the tests run against: started once per run, with a throw-away namespace for each test."""

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.cluster import Cluster
from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO
from devcluster.prometheus import Prometheus

# the default node image of kind v0.32
KIND_IMAGE = "kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5"
Kubectl = Callable[..., str]
StartPrometheus = Callable[..., Prometheus]


@pytest.fixture(scope="session")
def local_control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane on loopback with our CRDs, one for the whole run."""
    plane = ControlPlane.start(tmp_path_factory.mktemp("control-plane"), crds=REPO / "crds")
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster chosen with --cluster, with our CRDs: for tests that need no more than an API server."""
    tier = request.config.getoption("cluster")
    if tier == "local":
        plane: Cluster = request.getfixturevalue("local_control_plane")
        return plane
    kubeconfig = Path(_kind(request)) if tier == "kind" else None
    chosen = Cluster.current(tmp_path_factory.mktemp("cluster"), kubeconfig)
    chosen.apply_crds(REPO / "crds")
    return chosen


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> ControlPlane:
    """The local control plane: for tests that read its audit log, use its static users or stop its programs."""
    if request.config.getoption("cluster") != "local":
        pytest.skip("needs the audit log and the users of --cluster=local")
    plane: ControlPlane = request.getfixturevalue("local_control_plane")
    return plane


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace; its deletion is asked for at the end and not waited for (the server takes 5 seconds)."""
    name = f"t-{secrets.token_hex(5)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    """Run kubectl in the test's namespace and return what it printed."""

    def run(*args: str, stdin: str | None = None) -> str:
        return cluster.kubectl("--namespace", namespace, *args, input=stdin).stdout

    return run


@pytest.fixture
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPrometheus]:
    """Start real Prometheus servers: `prometheus(targets=[...], scrape_interval="1s")`; all end with the test."""
    with contextlib.ExitStack() as started:

        def start(**options: object) -> Prometheus:
            server = Prometheus.start(tmp_path_factory.mktemp("prometheus"), **options)  # type: ignore[arg-type]
            started.callback(server.stop)
            return server

        yield start


def _kind(request: pytest.FixtureRequest) -> str:
    """Make a kind cluster with pytest-kind and the kind found on PATH; return its kubeconfig."""
    option = request.config.option
    option.kind_bin = option.kind_bin or shutil.which("kind")
    if option.kind_bin is None:
        pytest.fail("--cluster=kind needs kind v0.32 or newer on PATH, and Docker")
    option.kind_image = option.kind_image or KIND_IMAGE
    return str(request.getfixturevalue("kind_cluster").kubeconfig_path)
