"""Where the programs come from: assets, cache, build; and what is said when they cannot be had."""

import subprocess
import sys
from pathlib import Path

import pytest

from devcluster import paths, tools
from devcluster.errors import DevError
from devcluster.paths import REPO

_GO = """#!/bin/sh
case "$1" in
  env) echo {version} ;;
  list) echo a; echo b ;;
  build) {build} ;;
esac
"""
_BUILDS = (
    'while [ "$1" != -o ]; do shift; done; echo "$2" >> "$PROMPT_OPERATOR_CACHE/builds"; sleep 0.1; '
    'echo a >&2; echo program > "$2"; chmod +x "$2"'
)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing built, and with nothing on PATH but a shell's tools."""
    cache, programs = tmp_path / "cache", tmp_path / "path"
    cache.mkdir()
    programs.mkdir()
    monkeypatch.setenv("PROMPT_OPERATOR_CACHE", str(cache))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin" if not Path("/usr/bin/go").exists() else str(programs))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return cache


def fake_go(cache: Path, build: str, version: str = "go1.26.8") -> None:
    """Put a Go on PATH that builds as told."""
    go = cache.parent / "path" / "go"
    go.write_text(_GO.format(version=version, build=build))
    go.chmod(0o755)


def programs(cache: Path) -> list[str]:
    """Names of all files under the cache's bin folder, half-written ones included."""
    return sorted(path.name for path in (cache / "bin").rglob("*") if path.is_file())


def test_without_go_the_error_says_what_to_install(empty_cache: Path) -> None:
    """One sentence: what is missing, where it was looked for, what to install."""
    with pytest.raises(DevError, match=r"^The helm programs are not in the cache \(.*\) and no Go .* install Go 1\.26"):
        tools.ensure("helm")
    assert programs(empty_cache) == []


@pytest.mark.parametrize(
    ("build", "said"),
    [
        ('echo "dial tcp: lookup proxy: no such host" >&2; exit 1', "No network: Go cannot fetch"),
        ('echo "write /x: no space left on device" >&2; exit 1', "The disk is full"),
        ('echo "# pkg" >&2; echo "x.go:1: syntax error" >&2; exit 1', "x.go:1: syntax error"),
    ],
)
def test_a_failed_build_is_one_sentence(empty_cache: Path, build: str, said: str) -> None:
    """No network, a full disk and a compiler error are told apart, and no half program is left."""
    fake_go(empty_cache, build)
    with pytest.raises(DevError, match=said):
        tools.ensure("helm")
    assert programs(empty_cache) == []


def test_an_old_go_is_refused(empty_cache: Path) -> None:
    """A Go that would want to fetch a newer one is named before anything is fetched."""
    fake_go(empty_cache, _BUILDS, version="go1.21.4")
    with pytest.raises(DevError, match=r"go1\.21\.4 is too old .* install Go 1\.26"):
        tools.ensure("helm")


def test_an_interrupted_build_goes_on_where_it_was(empty_cache: Path) -> None:
    """Programs that were finished stay, the half-written one goes, and only the rest is built next time."""
    fake_go(empty_cache, 'case "$*" in *promtool*) exit 1 ;; esac; ' + _BUILDS)
    with pytest.raises(DevError):
        tools.ensure("prometheus")
    assert programs(empty_cache) == ["prometheus"]
    fake_go(empty_cache, _BUILDS)
    tools.ensure("prometheus")
    assert programs(empty_cache) == ["prometheus", "promtool"]
    assert len((empty_cache / "builds").read_text().splitlines()) == 2


def test_two_clones_build_once(empty_cache: Path) -> None:
    """Of two processes that need the same program at once, one builds and the other waits for it."""
    fake_go(empty_cache, _BUILDS)
    script = "import sys; sys.path.insert(0, sys.argv[1]); from devcluster import tools; tools.ensure('helm')"
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(REPO / "operator")], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(process.communicate(timeout=120)[1] for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert len((empty_cache / "builds").read_text().splitlines()) == 1
    assert "built helm" in said


def test_assets_come_first(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBEBUILDER_ASSETS gives the programs it has; the controller manager, which it never has, is built."""
    fake_go(empty_cache, _BUILDS)
    assets = empty_cache.parent / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (assets / name).write_text("asset")
        (assets / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    folder = tools.ensure("kubernetes")
    assert (folder / "etcd").read_text() == "asset"
    assert (folder / "kube-controller-manager").read_text() == "program\n"
    assert len((empty_cache / "builds").read_text().splitlines()) == 1


def test_assets_without_programs_are_refused(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong KUBEBUILDER_ASSETS is an error, not a silent build of minutes."""
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(empty_cache))
    with pytest.raises(DevError, match="has no kube-apiserver"):
        tools.ensure("kubernetes")


def test_the_cache_is_found_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Own variable, XDG, HOME, and inside the checkout when none is set."""
    monkeypatch.setenv("PROMPT_OPERATOR_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = [paths.cache_dir()]
    for name in ("PROMPT_OPERATOR_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name)
        found.append(paths.cache_dir())
    assert found == [
        tmp_path / "own",
        tmp_path / "xdg" / "prompt-operator",
        tmp_path / "home" / ".cache" / "prompt-operator",
        REPO / ".cache",
    ]


def test_the_key_changes_with_the_pins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another version or another checksum is another program."""
    before = tools.GROUPS["helm"].digest()
    pins = tmp_path / "helm"
    pins.mkdir()
    for name in ("go.mod", "go.sum"):
        (pins / name).write_text((paths.PINS / "helm" / name).read_text() + "\n")
    monkeypatch.setattr(tools, "PINS", tmp_path)
    assert tools.GROUPS["helm"].digest() != before
