"""The plain installation on a control plane of its own, with an operator that works in it as the shipped one does."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.cluster.operating import operated
from tests.faults.scene import AT_ONCE, ONE_RULE

from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO
from devcluster.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from tests.cluster.operating import Operated

    from prompt_operator.ports import Metrics

HOME = "prompt-operator"
ACCOUNT = f"system:serviceaccount:{HOME}:{HOME}"
TEAM = "shop"


@contextlib.contextmanager
def plain_installation(folder: Path) -> Iterator[ControlPlane]:
    """Yield a control plane with all that `manifests/` installs, and a namespace for a team."""
    plane = ControlPlane.start(folder, audit=False, crds=REPO / "crds")
    try:
        install(plane)
        plane.kubectl("create", "namespace", TEAM)
        yield plane
    finally:
        plane.stop()


def install(plane: ControlPlane) -> None:
    """Apply the whole installation, or put back what is missing of it."""
    plane.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(REPO / "manifests"))


@contextlib.asynccontextmanager
async def working(
    plane: ControlPlane, *, sources: Mapping[str, Metrics] | None = None, **settings: object
) -> AsyncIterator[tuple[Operated, str]]:
    """Yield an operator with its own account and Lease that serves 1.0.0, and its address; it leaves nothing behind.

    `sources` replace its metrics, `settings` its settings.
    """
    address = f"{LOOPBACK}:{free_port()}"
    async with operated(plane.kubeconfig, TEAM) as one:
        changes = {
            "lease": f"{HOME}/{HOME}",
            "health_address": address,
            "metrics_address": address,
            "metrics_auth": "None",
            "kubeconfig": str(plane.kubeconfig_for(ACCOUNT)),
            **settings,
        }
        one.sources = sources or one.sources
        one.settings = one.settings.model_copy(update=changes)
        await one.policy(rollback={**AT_ONCE, "maxPerDay": 1, "cooldown": "0s"}, rules=ONE_RULE)
        await one.version("1.0.0")
        await one.prompt("1.0.0")
        await one.start()
        await one.until_served("1.0.0")
        await one.settle()
        yield one, f"http://{address}"
        await one.stop()
        plane.kubectl("delete", "prompts,promptversions,promptpolicies,promptrollbacks", "--all", "-n", TEAM)
        plane.kubectl("delete", "configmaps", "-l", "app.kubernetes.io/managed-by=prompt-operator", "-n", TEAM)
