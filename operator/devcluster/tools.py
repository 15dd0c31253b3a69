"""Real programs from pinned Go modules, built once into a cache keyed by the pins.

A group is a folder under tools/ with a go.mod and a go.sum; the checksums in go.sum decide what is compiled.
A program is looked for in KUBEBUILDER_ASSETS, then in the cache, and is built last.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster import gobuild
from devcluster.errors import DevError
from devcluster.locking import locked
from devcluster.paths import PINS, cache_dir
from devcluster.progress import Progress, Stopwatch

LdFlags = Callable[[str], str]


@dataclass(frozen=True)
class Group:
    """Programs that are built from one go.mod.

    `packages` maps a program's name to its Go package, `module` is the one that gives the version,
    `ldflags` turns that version into the linker flags that stamp it, `minutes` is a cold build on two cores.
    """

    name: str
    packages: Mapping[str, str]
    module: str
    minutes: int
    ldflags: LdFlags
    tags: str = ""
    from_assets: frozenset[str] = frozenset()

    @property
    def pins(self) -> Path:
        """The folder with go.mod and go.sum."""
        return PINS / self.name

    @property
    def module_version(self) -> str:
        """The pinned version of `module`, such as v1.36.3."""
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)", self._go_mod(), re.MULTILINE)
        if found is None:
            raise DevError(f"{self.pins / 'go.mod'} does not require {self.module}; restore the file from Git.")
        return found[1]

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that can build the group."""
        found = re.search(r"^go (\d+(?:\.\d+)+)", self._go_mod(), re.MULTILINE)
        return tuple(int(part) for part in found[1].split(".")) if found else ()

    @property
    def build_flags(self) -> list[str]:
        """Flags of `go build`: no path of this machine and no state of the checkout gets into the programs."""
        flags = ["-trimpath", "-buildvcs=false", f"-ldflags=-s -w {self.ldflags(self.module_version)}"]
        return [*flags, f"-tags={self.tags}"] if self.tags else flags

    def digest(self) -> str:
        """Key of the cache: what is built, how, and for which machine."""
        parts = [self._go_mod(), (self.pins / "go.sum").read_text("utf-8"), *self.build_flags]
        parts += [*self.packages.values(), platform.system(), platform.machine()]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _go_mod(self) -> str:
        return (self.pins / "go.mod").read_text("utf-8")


def _kubernetes_version(version: str) -> str:
    variable = "k8s.io/component-base/version"
    major, minor, _ = version.removeprefix("v").split(".", 2)
    return f"-X {variable}.gitVersion={version} -X {variable}.gitMajor={major} -X {variable}.gitMinor={minor}"


def _prometheus_version(version: str) -> str:
    # Prometheus 3.15.0 is the Go module v0.315.0.
    _, minor, patch = version.split(".", 2)
    return f"-X github.com/prometheus/common/version.Version={minor[0]}.{int(minor[1:])}.{patch}"


def _helm_version(version: str) -> str:
    return f"-X helm.sh/helm/v3/internal/version.version={version}"


GROUPS: Mapping[str, Group] = {
    group.name: group
    for group in (
        Group(
            name="kubernetes",
            packages={
                "etcd": "go.etcd.io/etcd/server/v3",
                "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
                "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
                "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            },
            module="k8s.io/kubernetes",
            minutes=5,
            ldflags=_kubernetes_version,
            from_assets=frozenset({"etcd", "kube-apiserver", "kubectl"}),
        ),
        Group(
            name="prometheus",
            packages={
                "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
                "promtool": "github.com/prometheus/prometheus/cmd/promtool",
            },
            module="github.com/prometheus/prometheus",
            minutes=3,
            ldflags=_prometheus_version,
            tags="remove_all_sd",
        ),
        Group(
            name="helm",
            packages={"helm": "helm.sh/helm/v3/cmd/helm"},
            module="helm.sh/helm/v3",
            minutes=2,
            ldflags=_helm_version,
        ),
    )
}


def ensure(name: str, progress: Progress | None = None) -> Path:
    """Return the folder with the programs of group `name`; build those that are missing.

    Raises DevError, in one sentence, when a program is missing and cannot be built.
    """
    group = GROUPS[name]
    wanted = group.packages.keys() - (assets := _assets(group)).keys()
    folder = cache_dir() / "bin" / f"{group.name}-{group.module_version}-{group.digest()}"
    if not all((folder / program).is_file() for program in wanted):
        progress = progress or Progress()
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder, f"waiting for another build of {folder.name}", progress):
                _build(group, sorted(wanted), folder, progress)
    return _linked(folder, assets) if assets else folder


def _assets(group: Group) -> dict[str, Path]:
    """Programs of the group that KUBEBUILDER_ASSETS offers."""
    root = os.environ.get("KUBEBUILDER_ASSETS")
    if not root or not group.from_assets:
        return {}
    found = {program: Path(root).absolute() / program for program in group.from_assets}
    found = {program: path for program, path in found.items() if os.access(path, os.X_OK)}
    if not found:
        raise DevError(
            f"KUBEBUILDER_ASSETS is {root}, which has no kube-apiserver, etcd or kubectl; correct or unset it."
        )
    return found


def _linked(folder: Path, assets: Mapping[str, Path]) -> Path:
    """Folder in which the assets and the built programs stand side by side, as links."""
    key = hashlib.sha256("\0".join(map(str, sorted(assets.values()))).encode()).hexdigest()[:8]
    linked = folder.with_name(f"{folder.name}-assets-{key}")
    linked.mkdir(parents=True, exist_ok=True)
    built = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    for program, path in {**built, **assets}.items():
        temporary = linked / f".{program}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path)
        temporary.replace(linked / program)
    return linked


def _build(group: Group, wanted: list[str], folder: Path, progress: Progress) -> None:
    missing = [program for program in wanted if not (folder / program).is_file()]
    if not missing:
        return  # another process built them while this one waited for the lock
    go = gobuild.find_go(group.name, group.go_version)
    clock = Stopwatch()
    progress.say(
        f"building {', '.join(missing)} {group.module_version} from Go modules, once"
        f" (about {group.minutes} minutes on 2 cores)"
    )
    for leftover in folder.glob(".*.part"):
        leftover.unlink()
    for program in missing:
        part = folder / f".{program}.part"
        gobuild.build(go, group.pins, group.packages[program], part, group.build_flags, progress)
        part.replace(folder / program)
    progress.say(f"built {', '.join(missing)} in {clock}")


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one sentence."""
    try:
        yield
    except OSError as error:
        free = shutil.disk_usage(next(path for path in folder.parents if path.exists())).free >> 20
        raise DevError(
            f"Cannot write to {folder.parent} ({error.strerror}, {free} MiB free): "
            "make room, or set PROMPT_OPERATOR_CACHE to another folder."
        ) from error
