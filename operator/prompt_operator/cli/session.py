"""One run of a verb: the way to the cluster, the namespace, the time, and who asks."""

from __future__ import annotations

import shlex
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias

from prompt_operator.adapters import credentials
from prompt_operator.adapters.clock import SystemClock
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.cli.errors import Refused
from prompt_operator.ports import Kind, NotFound
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from prompt_operator.ports import Cluster

PROGRAM = "kubectl-prompt"
"""Field manager of all that is written, and User-Agent."""
_SELF_REVIEW = Kind("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews")
_TIMEOUT = 20.0
_NOTICEABLE = 2.0  # seconds; the Date header has whole ones


@dataclass(frozen=True, slots=True)
class Target:
    """What the options say about where to go; empty means: as the kubeconfig says."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""

    def flags(self, namespace: str) -> str:
        """Return the options with which a copied command goes to the same place."""
        given = {"-n": namespace, "--context": self.context, "--kubeconfig": self.kubeconfig}
        return " ".join(f"{option} {shlex.quote(value)}" for option, value in given.items() if value)


@dataclass(frozen=True, slots=True)
class Session:
    """The cluster, the namespace of this run, and the server's time."""

    cluster: Cluster
    namespace: str
    now: Callable[[], datetime]
    flags: str
    """Options for a command that is shown to be copied."""
    chosen: str = ""
    """The namespace that `-n` names; empty without it."""
    server: str = ""
    """Address of the API server."""
    target: Target = Target()

    def flags_in(self, namespace: str) -> str:
        """Return the options of a command for an object in another namespace of the same cluster."""
        return self.target.flags(namespace)

    async def user(self) -> str:
        """Return the name under which the API server knows who asks: the one admission compares with."""
        body = {"apiVersion": _SELF_REVIEW.api_version, "kind": _SELF_REVIEW.kind, "metadata": {}}
        try:
            review = await self.cluster.create(_SELF_REVIEW, body) or {}
        except NotFound as error:
            raise Refused("The API server cannot tell your name: SelfSubjectReview needs Kubernetes 1.28.") from error
        return str(review["status"]["userInfo"]["username"])


Connect: TypeAlias = "Callable[[Target], AbstractAsyncContextManager[Session]]"


@asynccontextmanager
async def connect(target: Target) -> AsyncIterator[Session]:
    """Open a session; raises `NoCredentials` when there is no way to a cluster."""
    access, clock = credentials.load(target.kubeconfig, context=target.context), SystemClock()
    cluster = ApiCluster(
        access, Telemetry(), clock, version=version("prompt-operator"), program=PROGRAM, timeout=_TIMEOUT
    )
    async with cluster:
        namespace = target.namespace or access.namespace
        yield Session(
            cluster=cluster,
            namespace=namespace,
            now=lambda: _server_time(cluster, clock.now()),
            flags=target.flags(namespace),
            chosen=target.namespace,
            server=access.server,
            target=target,
        )


def _server_time(cluster: ApiCluster, here: datetime) -> datetime:
    """Annotations with a time are compared with times of the cluster: a wrong clock here must not matter."""
    skew = cluster.server_skew or 0.0
    return here + timedelta(seconds=skew) if abs(skew) > _NOTICEABLE else here
