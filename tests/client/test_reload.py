"""Reloading: a publication is noticed by events and by polling, and the thread ends."""

import ctypes
import logging
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.client.conftest import ClientFactory
from tests.client.publications import Kubelet, document, eventually

from prompt_client.watch import Watcher


def threads() -> list[threading.Thread]:
    """The client's threads that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == "prompt-client"]


@pytest.mark.parametrize("options", [{"reload": "events"}, {"reload": "poll", "poll_seconds": 0.05}])
def test_a_publication_is_served_without_restart(
    kubelet: Kubelet, make_client: ClientFactory, options: dict[str, object]
) -> None:
    """Three publications in a row, each is served within the deadline; requests keep the version they began with."""
    kubelet.publish_text("1.0.0", "one")
    client = make_client(**options)
    first = client.get("greeting")
    for version in ("2.0.0", "3.0.0"):
        kubelet.publish_text(version, version)
        eventually(lambda version=version: client.get("greeting").version == version, f"{version} is served")  # type: ignore[misc]
    assert first.text == "one"


def test_events_do_not_wait_for_the_poll_interval(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """With an interval far beyond the deadline, only an event can bring the new version."""
    kubelet.publish_text("1.0.0", "one")
    client = make_client(reload="events", poll_seconds=3600)
    client.get("greeting")
    kubelet.publish_text("2.0.0", "two")
    eventually(lambda: client.get("greeting").version == "2.0.0", "2.0.0 is served")


def test_one_thread_serves_all_prompts(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """Prompts asked for later are watched by the thread that is there."""
    names = ("greeting", "farewell")
    before = len(threads())
    client = make_client(reload="events", poll_seconds=3600)
    for name in names:
        kubelet.publish(document(prompt={"namespace": "prod", "name": name}), name)
        client.get(name)
    assert len(threads()) == before + 1
    for name in names:
        kubelet.publish(document(prompt={"namespace": "prod", "name": name}, revision=2), name)
    for name in names:
        eventually(lambda name=name: client.get(name).revision == 2, f"{name} is reloaded")  # type: ignore[misc]


@pytest.mark.parametrize("reload", ["events", "poll"])
def test_a_folder_that_appears_later_is_found(kubelet: Kubelet, make_client: ClientFactory, reload: str) -> None:
    """The fallback is served until the mount is there, and no longer."""
    client = make_client(reload=reload, poll_seconds=0.05, fallbacks={"greeting": "Built in."})
    assert client.get("greeting").is_fallback
    kubelet.publish_text("1.0.0", "one")
    eventually(lambda: client.get("greeting").version == "1.0.0", "the publication is served")


def test_a_switch_to_fallback_and_back(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """Mode Fallback reaches a running application, and so does its end."""
    kubelet.publish(document())
    client = make_client(reload="events", fallbacks={"greeting": "Built in."})
    assert not client.get("greeting").is_fallback
    kubelet.publish(document(mode="Fallback", revision=2))
    eventually(lambda: client.get("greeting").is_fallback, "the fallback is served")
    kubelet.publish(document(revision=3))
    eventually(lambda: client.get("greeting").version == "1.0.0", "the version is served again")


@pytest.mark.parametrize("reload", ["events", "poll"])
def test_close_ends_the_thread_at_once(kubelet: Kubelet, make_client: ClientFactory, reload: str) -> None:
    """close() does not wait for an interval, may be called twice, and leaves the last version served."""
    kubelet.publish_text("1.0.0", "one")
    before = len(threads())
    client = make_client(reload=reload, poll_seconds=3600)
    client.get("greeting")
    client.close()
    client.close()
    assert len(threads()) == before
    assert client.get("greeting").version == "1.0.0"


def test_where_inotify_is_refused_the_folders_are_polled(
    kubelet: Kubelet, make_client: ClientFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many inotify instances on a node is no reason to serve a stale prompt; the log says what is done."""

    class Refusing:
        def inotify_init1(self, _flags: int) -> int:
            ctypes.set_errno(24)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
    kubelet.publish_text("1.0.0", "one")
    client = make_client(reload="events", poll_seconds=0.05)
    with caplog.at_level(logging.WARNING, logger="prompt_client"):
        client.get("greeting")
    assert "no inotify" in caplog.text
    kubelet.publish_text("2.0.0", "two")
    eventually(lambda: client.get("greeting").version == "2.0.0", "2.0.0 is served")


def test_the_thread_survives_a_failing_look(caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen failure is logged by its type only, and the next look comes."""
    looks = threading.Semaphore(0)

    def fail() -> None:
        looks.release()
        raise RuntimeError("prompt text")

    def folders() -> Iterable[Path]:
        return []

    watcher = Watcher("poll", folders, fail, 0.01)
    try:
        assert looks.acquire(timeout=60)
        assert looks.acquire(timeout=60)
    finally:
        watcher.close()
    assert "RuntimeError" in caplog.text
    assert "prompt text" not in caplog.text
