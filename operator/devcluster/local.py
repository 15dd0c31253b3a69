"""The local cluster of a checkout: brought up once, used by many commands, taken down on request."""

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from devcluster import tools
from devcluster.controlplane import ControlPlane
from devcluster.locking import locked
from devcluster.paths import PINS, REPO, STATE
from devcluster.processes import ProcessSet
from devcluster.progress import Progress, Stopwatch
from devcluster.prometheus import Prometheus
from devcluster.venv import PYTHON

_CONTROL_PLANE = STATE / "control-plane"
_PROMETHEUS = STATE / "prometheus"
_WAITING = "waiting for another up or down of this checkout"


@dataclass(frozen=True)
class LocalCluster:
    """The control plane and the Prometheus of this checkout."""

    control_plane: ControlPlane
    prometheus: Prometheus

    def exports(self) -> str:
        """Shell lines that point kubectl, the operator and the demo at this cluster, and make both kubectls found."""
        settings = {
            "KUBECONFIG": str(self.control_plane.kubeconfig),
            "PROMETHEUS_URL": self.prometheus.url,
            "PATH": self._path(),
        }
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items())

    def _path(self) -> str:
        """Return PATH with `kubectl prompt` and kubectl at its end: what is there already goes before them."""
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        ours = (str(PYTHON.parent), str(self.control_plane.bin_dir))
        return os.pathsep.join((*folders, *(folder for folder in ours if folder not in folders)))


def up(targets: Sequence[str], progress: Progress) -> LocalCluster:
    """Start what does not run yet, apply the CRDs, and scrape `targets` (host:port).

    Without targets, those set before stay.
    """
    with locked(PINS, _WAITING, progress):
        # all builds come first: a Ctrl-C during one finds nothing started
        tools.ensure("kubernetes", progress)
        tools.ensure("prometheus", progress)
        clock = Stopwatch()
        control_plane, fresh = _control_plane(progress)
        try:
            cluster = LocalCluster(control_plane, _prometheus(targets, progress))
        except BaseException:
            if fresh:
                control_plane.stop()
            raise
        progress.say(f"control plane at {cluster.control_plane.url}, Prometheus at {cluster.prometheus.url} ({clock})")
        return cluster


def down(progress: Progress) -> None:
    """End the processes of this checkout's cluster and remove its state; harmless when there is none."""
    with locked(PINS, _WAITING, progress):
        ended = 0
        for folder in (_PROMETHEUS, _CONTROL_PLANE):
            processes = ProcessSet(folder, detached=True)
            ended += sum(process.alive for process in processes.recorded)
            processes.stop()
        shutil.rmtree(STATE, ignore_errors=True)
        progress.say(f"ended {ended} processes" if ended else "nothing was running")


def _control_plane(progress: Progress) -> tuple[ControlPlane, bool]:
    """Return the control plane and whether it was started just now."""
    crds = REPO / "crds"
    if running := ControlPlane.attach(_CONTROL_PLANE):
        running.apply_crds(crds)
        return running, False
    return ControlPlane.start(_CONTROL_PLANE, crds=crds, detached=True, progress=progress), True


def _prometheus(targets: Sequence[str], progress: Progress) -> Prometheus:
    rules = _PROMETHEUS / "rules"
    rules.mkdir(parents=True, exist_ok=True)
    for file in (REPO / "manifests" / "recording-rules").glob("*.rules.yaml"):
        shutil.copy(file, rules / file.name)
    if running := Prometheus.attach(_PROMETHEUS):
        if targets:
            running.set_targets(targets)
        running.reload()
        return running
    return Prometheus.start(_PROMETHEUS, targets=targets, detached=True, progress=progress)
