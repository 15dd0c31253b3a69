"""The client: what get() serves, when, and what it says when it cannot."""

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.client.conftest import ClientFactory
from tests.client.publications import DEADLINE_SECONDS, Kubelet, document, entry, eventually

import prompt_client
from prompt_client import Client, PromptUnavailable, bench, source, testing
from prompt_client.client import Content
from prompt_client.source import read_folder


def test_get_serves_the_active_version(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """Everything an application may want to know about the served version is on the result."""
    one = entry(text="Hi {{ name }}.", model={"name": "gpt", "temperature": "0.2"}, outputSchema="{}")
    kubelet.publish(document({"1.0.0": one, "2.0.0": entry(text="other")}, revision=4))
    prompt = make_client().get("greeting")
    assert (prompt.namespace, prompt.name, prompt.version, prompt.hash) == ("prod", "greeting", "1.0.0", one["hash"])
    assert (prompt.text, prompt.messages, prompt.revision, prompt.source) == ("Hi {{ name }}.", None, 4, "configmap")
    assert (prompt.arm, prompt.is_fallback) == (None, False)
    assert (prompt.model, prompt.output_schema) == ({"name": "gpt", "temperature": "0.2"}, "{}")
    assert 0 <= prompt.age < DEADLINE_SECONDS
    assert prompt.render(name="Ada") == "Hi Ada."
    assert prompt.render_messages(name="Ada") == [{"role": "user", "content": "Hi Ada."}]


def test_a_warm_get_is_one_look_up(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """After the first get() the same object comes back, even when the folder is gone."""
    kubelet.publish_text("1.0.0", "Hi.")
    client = make_client()
    first = client.get("greeting")
    kubelet.publish_text("2.0.0", "Ho.")
    assert client.get("greeting") is first


def test_a_prompt_shows_no_text_in_its_repr(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """A prompt may be logged: its identity is shown, its text is not."""
    kubelet.publish(document({"1.0.0": entry(text="Secret recipe.")}))
    assert repr(make_client().get("greeting")) == "<Prompt prod/greeting 1.0.0 from configmap>"


@pytest.mark.parametrize("content", ["Built in.", [{"role": "User", "content": "Built in."}], {"text": "Built in."}])
def test_without_a_folder_the_fallback_is_served(make_client: ClientFactory, content: Content) -> None:
    """A text, messages or a spec can be built in; the result says that it is the fallback."""
    prompt = make_client(fallbacks={"greeting": content}, namespace="dev").get("greeting")
    assert (prompt.is_fallback, prompt.version, prompt.source) == (True, "fallback", "fallback")
    assert (prompt.namespace, prompt.revision) == ("dev", 0)
    assert prompt.render_messages() == [{"role": "user", "content": "Built in."}]


def test_a_fallback_that_is_no_prompt_is_refused_at_once(make_client: ClientFactory) -> None:
    """A bad fallback is found when the process starts, not when the cluster is in trouble."""
    with pytest.raises(ValueError, match="built-in prompt 'greeting': exactly one of text and messages"):
        make_client(fallbacks={"greeting": {"engine": "Plain"}})


def test_mode_fallback_serves_the_built_in_text(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """In mode Fallback the operator asks for the built-in text, although a version is there."""
    kubelet.publish(document(mode="Fallback", revision=9))
    prompt = make_client(fallbacks={"greeting": "Built in."}).get("greeting")
    assert (prompt.text, prompt.is_fallback, prompt.revision, prompt.namespace) == ("Built in.", True, 9, "prod")


def test_mode_fallback_without_versions(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """A prompt that never had a usable version can be in mode Fallback too."""
    kubelet.publish(document({}, mode="Fallback", active=None))
    assert make_client(fallbacks={"greeting": "Built in."}).get("greeting").is_fallback


def test_mode_fallback_without_a_built_in_text_says_what_to_do(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """The error names the mode and both ways out."""
    kubelet.publish(document(mode="Fallback"))
    with pytest.raises(PromptUnavailable, match=r"mode Fallback.*pass fallbacks=.*or set the prompt to mode Active"):
        make_client().get("greeting")


def test_nothing_to_serve_says_what_to_do(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """The error names the folder that was looked at, and comes as often as it is asked for."""
    client = make_client(reload="poll", poll_seconds=60)
    where = re.escape(str(kubelet.root / "greeting"))
    for _ in range(2):
        with pytest.raises(PromptUnavailable, match=rf"missing in {where}: mount .*pass fallbacks="):
            client.get("greeting")


def test_without_reload_a_prompt_that_was_missing_is_looked_for_again(
    kubelet: Kubelet, make_client: ClientFactory
) -> None:
    """`off` keeps what was read first; it does not keep a failure for ever."""
    client = make_client()
    with pytest.raises(PromptUnavailable):
        client.get("greeting")
    kubelet.publish_text("1.0.0", "Hi.")
    assert client.get("greeting").version == "1.0.0"


@pytest.mark.parametrize("name", ["../greeting", "", "a/b", "Greeting", "a" * 64, ".hidden"])
def test_names_that_are_no_names_of_prompts_are_refused(make_client: ClientFactory, name: str) -> None:
    """No name leads out of the root."""
    with pytest.raises(ValueError, match="a prompt's name has"):
        make_client().get(name)


def test_an_unknown_reload_is_refused(kubelet: Kubelet) -> None:
    """A typing error does not end in a client that never reloads."""
    with pytest.raises(ValueError, match="reload must be one of events, poll, off"):
        Client(kubelet.root, reload="event")  # type: ignore[arg-type]


def test_the_copy_on_disk_is_used_by_the_next_process(
    kubelet: Kubelet, make_client: ClientFactory, tmp_path: Path
) -> None:
    """With a cache folder a client that starts without a mount serves the last good version, before any fallback."""
    kubelet.publish_text("1.0.0", "Hi.")
    make_client(cache_dir=tmp_path / "cache").get("greeting")
    kubelet.publish_files({})
    prompt = make_client(cache_dir=tmp_path / "cache", fallbacks={"greeting": "Built in."}).get("greeting")
    assert (prompt.version, prompt.source, prompt.is_fallback) == ("1.0.0", "cache", False)


def test_the_root_comes_from_the_argument_then_the_environment(
    kubelet: Kubelet, make_client: ClientFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod sets the root once for all its programs; an argument wins."""
    kubelet.publish_text("1.0.0", "Hi.")
    monkeypatch.setenv("PROMPT_CLIENT_ROOT", str(tmp_path / "elsewhere"))
    assert make_client().get("greeting").version == "1.0.0"
    monkeypatch.setenv("PROMPT_CLIENT_ROOT", str(kubelet.root))
    with Client(reload="off", registry=CollectorRegistry()) as client:
        assert client.get("greeting").version == "1.0.0"


def test_configure_and_get_of_the_module(kubelet: Kubelet) -> None:
    """The module's own client is made by configure(); a second one replaces it."""
    kubelet.publish_text("1.0.0", "Hi.")
    prompt_client.configure(kubelet.root, reload="off", registry=CollectorRegistry())
    assert prompt_client.get("greeting").version == "1.0.0"
    kubelet.publish_text("2.0.0", "Ho.")
    client = prompt_client.configure(kubelet.root, reload="off", registry=CollectorRegistry())
    assert prompt_client.get("greeting").version == "2.0.0"
    client.close()


def test_without_configure_the_defaults_hold(kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that only calls get() is served from the root that its pod sets."""
    kubelet.publish_text("1.0.0", "Hi.")
    monkeypatch.setattr(prompt_client, "_client", None)
    monkeypatch.setenv("PROMPT_CLIENT_ROOT", str(kubelet.root))
    assert prompt_client.get("greeting") is prompt_client.get("greeting")
    assert prompt_client._client is not None
    prompt_client._client.close()


def test_the_bench_measures_both_figures() -> None:
    """The figures of the contract can be had by one call; how fast they are is not a unit test's business."""
    assert set(bench.microseconds(rounds=2)) == {"get", "assignment"}


def test_fixed_prompts_replace_all_others(kubelet: Kubelet, make_client: ClientFactory) -> None:
    """In test mode every client serves the given prompts, and nothing is read, counted or watched."""
    kubelet.publish_text("1.0.0", "Real.")
    client = make_client()
    with testing.fixed({"greeting": "Fixed {{ name }}."}):
        assert client.get("greeting").render(name="Ada") == "Fixed Ada."
        prompt = prompt_client.get("greeting")
        with prompt.observe() as request:
            request.tokens(input=1, output=2)
            request.feedback(5)
        with pytest.raises(PromptUnavailable, match=r"testing\.fixed\(\) holds no prompt 'other'"):
            client.get("other")
        with testing.fixed({"greeting": "Inner."}):
            assert client.get("greeting").text == "Inner."
        assert client.get("greeting").text == "Fixed {{ name }}."
    assert client.get("greeting").text == "Real."


def test_threads_that_ask_first_at_the_same_time_all_get_the_prompt(
    kubelet: Kubelet, make_client: ClientFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first get() of a name reads the folder, others wait for its result instead of failing."""
    reading, go_on = threading.Event(), threading.Event()

    def read_slowly(folder: Path) -> dict[str, bytes]:
        reading.set()
        assert go_on.wait(DEADLINE_SECONDS)
        return read_folder(folder)

    monkeypatch.setattr(source, "read_folder", read_slowly)
    kubelet.publish_text("1.0.0", "Hi.")
    client = make_client(reload="poll", poll_seconds=3600)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(client.get, "greeting")
        assert reading.wait(DEADLINE_SECONDS)
        others = [pool.submit(client.get, "greeting") for _ in range(3)]
        go_on.set()
        assert {future.result(DEADLINE_SECONDS).version for future in (first, *others)} == {"1.0.0"}


@pytest.mark.parametrize("reload", ["events", "poll"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_reloading(kubelet: Kubelet, make_client: ClientFactory, reload: str) -> None:
    """A child made by fork serves at once, and notices publications with a thread of its own."""
    kubelet.publish_text("1.0.0", "Hi.")
    client = make_client(reload=reload, poll_seconds=0.05)
    client.get("greeting")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            eventually(lambda: client.get("greeting").version == "2.0.0", "the child reloads")
            status = 0
        finally:
            os._exit(status)
    kubelet.publish_text("2.0.0", "Ho.")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    eventually(lambda: client.get("greeting").version == "2.0.0", "the parent reloads as before")
