"""The mount emulator: files appear as kubelet makes them appear, from the real API server."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.devcluster.support import eventually

from devcluster.atomicwriter import publish
from devcluster.controlplane import ControlPlane
from devcluster.mount import MountEmulator


def put(plane: ControlPlane, name: str, **data: str) -> str:
    """Write a ConfigMap and return its resourceVersion."""
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    shown = plane.kubectl("apply", "--filename=-", "--output=json", input=json.dumps(config_map)).stdout
    return str(json.loads(shown)["metadata"]["resourceVersion"])


@contextlib.contextmanager
def mounted(plane: ControlPlane, name: str, folder: Path, propagation: float = 0.0) -> Iterator[MountEmulator]:
    """A running emulator for one ConfigMap of the default namespace."""
    emulator = MountEmulator(plane, "default", name, folder, propagation=propagation).start()
    try:
        yield emulator
    finally:
        emulator.stop()


def visible(folder: Path) -> dict[str, str]:
    """What an application sees: file names and contents."""
    return {file.name: file.read_text() for file in folder.iterdir() if not file.name.startswith("..")}


def test_the_layout_is_kubelets(tmp_path: Path) -> None:
    """Visible names point through ..data to a dated folder, and only one dated folder is left."""
    publish(tmp_path, {"a": b"1", "gone": b"x"})
    publish(tmp_path, {"a": b"2"})
    dated = [entry.name for entry in tmp_path.iterdir() if entry.is_dir() and not entry.is_symlink()]
    assert len(dated) == 1
    assert re.fullmatch(r"\.\.\d{4}(_\d\d){5}\.\w+", dated[0])
    assert str((tmp_path / "..data").readlink()) == dated[0]
    assert str((tmp_path / "a").readlink()) == "..data/a"
    assert visible(tmp_path) == {"a": "2"}


def test_equal_content_is_not_published_again(tmp_path: Path) -> None:
    """As with kubelet, a change of metadata alone moves nothing under the application."""
    assert publish(tmp_path, {"a": b"1"})
    before = (tmp_path / "..data").readlink()
    assert not publish(tmp_path, {"a": b"1"})
    assert (tmp_path / "..data").readlink() == before


def test_a_reader_never_sees_half_a_state(plane: ControlPlane, tmp_path: Path) -> None:
    """While the real ConfigMap changes again and again, both files of a snapshot always belong together."""
    put(plane, "pair", left="0", right="0")
    torn: list[tuple[str, str]] = []
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with contextlib.suppress(FileNotFoundError):  # the old folder went while it was being read: read again
                snapshot = tmp_path / (tmp_path / "..data").readlink()
                left, right = (snapshot / "left").read_text(), (snapshot / "right").read_text()
                seen.add(left)
                if left != right:
                    torn.append((left, right))

    reader = threading.Thread(target=read)
    with mounted(plane, "pair", tmp_path) as emulator:
        reader.start()
        for number in range(1, 9):
            last = put(plane, "pair", left=str(number), right=str(number))
        assert emulator.wait_published(last)
        assert eventually(lambda: "8" in seen)
        done.set()
        reader.join()
    assert not torn


def test_absent_created_deleted_and_made_again(plane: ControlPlane, tmp_path: Path) -> None:
    """An absent ConfigMap gives an empty folder, a deleted one leaves its files, a new one replaces them."""
    with mounted(plane, "late", tmp_path / "folder") as emulator:
        assert visible(tmp_path / "folder") == {}
        assert emulator.wait_published(put(plane, "late", text="first"))
        plane.kubectl("delete", "configmap", "late")
        assert visible(tmp_path / "folder") == {"text": "first"}
        assert emulator.wait_published(put(plane, "late", other="second"))
        assert visible(tmp_path / "folder") == {"other": "second"}


def test_a_lost_connection_is_made_again(plane: ControlPlane, tmp_path: Path) -> None:
    """After the watch's connection is cut, the next change still arrives."""
    with mounted(plane, "cut", tmp_path) as emulator:
        assert emulator.wait_published(put(plane, "cut", text="1"))
        emulator.watch.disconnect()
        assert emulator.wait_published(put(plane, "cut", text="2"))
    assert visible(tmp_path) == {"text": "2"}


def test_propagation_delays_a_change(plane: ControlPlane, tmp_path: Path) -> None:
    """A change is not seen before the delay is over; then the latest state is."""
    with mounted(plane, "slow", tmp_path, propagation=1.0) as emulator:
        before = time.monotonic()
        put(plane, "slow", text="1")
        assert emulator.wait_published(put(plane, "slow", text="2"))
        assert time.monotonic() - before >= 1.0
        assert visible(tmp_path) == {"text": "2"}


def test_stop_ends_the_threads(plane: ControlPlane, tmp_path: Path) -> None:
    """A stopped emulator leaves no thread that holds a connection."""
    with mounted(plane, "short", tmp_path):
        assert any(thread.name == "watch-short" for thread in threading.enumerate())
    assert not any(thread.name.endswith("-short") for thread in threading.enumerate())


@pytest.mark.parametrize("content", [b"", b"\x00\xff"])
def test_any_bytes_are_published(tmp_path: Path, content: bytes) -> None:
    """Empty files and binary data come out as they are."""
    publish(tmp_path, {"file": content})
    assert (tmp_path / "file").read_bytes() == content
