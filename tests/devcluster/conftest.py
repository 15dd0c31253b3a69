"""A control plane for the tests of the tools around it, and a checkout of its own for its commands."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.devcluster.support import Checkout

from devcluster import controlplane, ports
from devcluster.controlplane import ControlPlane
from devcluster.paths import REPO

_COPIED = ("operator/dev", "operator/devcluster", "operator/locks", "crds", "pyproject.toml")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout in a folder with a space; its environment is this one's, as if it had just been made."""
    root = tmp_path_factory.mktemp("check out")
    for part in _COPIED:
        source, target = REPO / part, root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    digest = "import sys; sys.path.insert(0, sys.argv[1]); from devcluster import venv; print(venv.digest(), end='')"
    made = subprocess.run(
        [sys.executable, "-c", digest, str(root / "operator")], capture_output=True, text=True, check=True
    )
    (root / ".venv" / ".prompt-operator").write_text(made.stdout)
    copy = Checkout(root)
    yield copy
    copy.dev("down")


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane whose first choice of port was taken by somebody else."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as squatter:
        squatter.bind((ports.LOOPBACK, 0))
        squatter.listen()
        choices = iter([squatter.getsockname()[1]])
        patch.setattr(controlplane, "free_port", lambda: next(choices, None) or ports.free_port())
        started = ControlPlane.start(tmp_path_factory.mktemp("control plane"), tokens={"carol": ["auditors"]})
    yield started
    started.stop()
