"""The client: prompts by name, kept fresh by one thread, served from memory."""

from __future__ import annotations

import os
import re
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from prompt_client import wire
from prompt_client.errors import PromptUnavailable
from prompt_client.metrics import Identity, Metrics, metrics_on
from prompt_client.prompt import Prompt
from prompt_client.snapshot import Version, parse_version
from prompt_client.source import Loaded, Origin, Source
from prompt_client.watch import POLL_SECONDS, RELOADS, Reload, Watcher

if TYPE_CHECKING:
    from types import TracebackType

DEFAULT_ROOT: Final = "/etc/prompts"
ROOT_VARIABLE: Final = "PROMPT_CLIENT_ROOT"
NAMESPACE_VARIABLE: Final = "POD_NAMESPACE"
FALLBACK_VERSION: Final = "fallback"

Content = str | Sequence[Mapping[str, str]] | Mapping[str, Any]
"""A built-in prompt: a text, a list of `{role, content}`, or the members of a PromptVersion's spec."""

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


class Client:
    """Serves the prompts below one folder: `<root>/<name>/` is the mounted ConfigMap of the prompt `<name>`.

    `get()` costs a dictionary look-up; files are read by the first `get()` of a name and by one daemon thread.
    In a child made by `os.fork` the thread is started again; before fork servers, make the client in the worker.

    Args:
        folder_root: default: the environment's `PROMPT_CLIENT_ROOT`, else `/etc/prompts`.
        fallbacks: what to serve by name when there is nothing else, or when the prompt is in mode Fallback.
        reload: `events` (inotify; elsewhere polling), `poll`, or `off` (what was read first stays).
        registry: a registry of prometheus_client; None is its default one.
        cache_dir: a writable folder for a copy of the last good publication, used when a process starts without one.
        namespace: label `prompt_namespace` until a publication tells it; default: the environment's `POD_NAMESPACE`.
        poll_seconds: interval of `poll`, and of looking for folders that do not exist yet.

    Raises:
        ValueError: an unknown `reload`, or a fallback that is no valid prompt.
    """

    def __init__(
        self,
        folder_root: str | os.PathLike[str] | None = None,
        *,
        fallbacks: Mapping[str, Content] | None = None,
        reload: Reload = "events",
        registry: Any | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        namespace: str | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        if reload not in RELOADS:
            raise ValueError(f"reload must be one of {', '.join(RELOADS)}")
        self._root = Path(folder_root or os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT)
        self._fallbacks = {
            name: built_in(name, content, FALLBACK_VERSION) for name, content in (fallbacks or {}).items()
        }
        self._reload: Reload = reload
        self._metrics = metrics_on(registry)
        self._cache_dir = Path(cache_dir) if cache_dir else None
        self._namespace = os.environ.get(NAMESPACE_VARIABLE, "") if namespace is None else namespace
        self._poll_seconds = poll_seconds
        self._mounts: dict[str, _Mount] = {}
        self._prompts: dict[str, Prompt] = {}  # what get() reads; written by whoever holds the mount's lock
        self._watcher: Watcher | None = None
        self._closed = False
        self._lock = threading.Lock()
        _clients.add(self)

    def get(self, name: str) -> Prompt:
        """Return the prompt as it is served now.

        Raises:
            PromptUnavailable: there is neither a publication, nor a cached copy, nor a fallback.
            ValueError: `name` cannot be the name of a prompt.
        """
        if _fixed is not None:
            return _fixed_prompt(name)
        prompt = self._prompts.get(name)
        return self._open(name) if prompt is None else prompt

    def close(self) -> None:
        """End the thread. What was loaded can still be served; closing twice is fine."""
        with self._lock:
            self._closed = True
            watcher, self._watcher = self._watcher, None
        if watcher:
            watcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, name: str) -> Prompt:
        mount, is_new = self._mount(name)
        if self._reload == "off":
            mount.refresh(self._prompts)
        else:
            mount.first_look(self._prompts)
        if is_new:
            self._watch()
        prompt = self._prompts.get(name)
        if prompt is None:
            raise PromptUnavailable(mount.explain())
        return prompt

    def _mount(self, name: str) -> tuple[_Mount, bool]:
        if not _NAME.fullmatch(name):
            raise ValueError("a prompt's name has 1 to 63 lower-case letters, digits, '-' and '.'")
        with self._lock:
            is_new = name not in self._mounts
            if is_new:
                cache = self._cache_dir / f"{name}.json" if self._cache_dir else None
                self._mounts[name] = _Mount(
                    name, self._root / name, cache, self._fallbacks.get(name), self._metrics, self._namespace
                )
            return self._mounts[name], is_new

    def _watch(self) -> None:
        with self._lock:
            if self._reload == "off" or self._closed:
                return
            if self._watcher is None:
                self._watcher = self._new_watcher()
            else:
                self._watcher.wake()

    def _new_watcher(self) -> Watcher:
        return Watcher(self._reload, self._folders, self._refresh, self._poll_seconds)

    def _known(self) -> tuple[_Mount, ...]:
        with self._lock:
            return tuple(self._mounts.values())

    def _folders(self) -> list[Path]:
        return [mount.source.folder for mount in self._known()]

    def _refresh(self) -> None:
        for mount in self._known():
            mount.refresh(self._prompts)

    def _after_fork(self) -> None:
        """Replace locks that the parent's thread may have held, and the thread, which the fork did not copy."""
        self._lock = threading.Lock()
        for mount in self._mounts.values():
            mount.lock = threading.Lock()
        if self._watcher:
            self._watcher.abandon()
            self._watcher = self._new_watcher()


class _Mount:
    """One prompt: its source, its fallback, and which of them is served."""

    def __init__(
        self, name: str, folder: Path, cache: Path | None, fallback: Version | None, metrics: Metrics, namespace: str
    ) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.source = Source(name, folder, cache, self._count)
        self._fallback = fallback
        self._metrics = metrics
        self._default_namespace = namespace
        self._served: Prompt | None = None
        self._served_from: Loaded | None = None
        self._looked = False

    def first_look(self, prompts: dict[str, Prompt]) -> None:
        """Look at the source unless that was done; who comes second waits for the first one's result."""
        if not self._looked:
            self.refresh(prompts, again=False)

    def refresh(self, prompts: dict[str, Prompt], *, again: bool = True) -> None:
        """Look at the source and put what is to be served into `prompts`."""
        with self.lock:
            if self._looked and not again:
                return
            self.source.refresh()
            if self._served is None or self._served_from is not self.source.loaded:
                self._serve(self._choose(), prompts)
            self._looked = True

    def explain(self) -> str:
        """Say why nothing can be served and what to do."""
        if self.source.loaded:
            why = f"prompt '{self.name}' is in mode Fallback and this application has no built-in text"
            return f"{why}: pass fallbacks={{'{self.name}': ...}}, or set the prompt to mode Active"
        why = f"prompt '{self.name}' cannot be served: {self.source.problem}"
        return f"{why}; or pass fallbacks={{'{self.name}': ...}} to have a built-in text"

    def _choose(self) -> Prompt | None:
        """Published and active, else the built-in text, else nothing."""
        loaded = self.source.loaded
        if loaded and loaded.snapshot.active and loaded.snapshot.mode == wire.MODE_ACTIVE:
            return self._prompt(loaded.snapshot.active, loaded.origin, loaded.at)
        if self._fallback:
            return self._prompt(self._fallback, "fallback", time.monotonic())
        return None

    def _prompt(self, version: Version, origin: Origin, at: float) -> Prompt:
        loaded = self.source.loaded
        return Prompt(
            namespace=self._namespace,
            name=self.name,
            revision=loaded.snapshot.revision if loaded else 0,
            is_fallback=origin == "fallback",
            arm=None,
            source=origin,
            _version=version,
            _recorder=self._metrics.recorder(Identity(self._namespace, self.name, version.version)),
            _loaded_at=at,
        )

    def _serve(self, prompt: Prompt | None, prompts: dict[str, Prompt]) -> None:
        before, self._served, self._served_from = self._served, prompt, self.source.loaded
        if prompt is None:
            prompts.pop(self.name, None)
        else:
            prompts[self.name] = prompt
            self._metrics.served(_identity(prompt), prompt.hash)
            if prompt.is_fallback and not (before and before.is_fallback):
                self._count("fallback")
        if before and not (prompt and (_identity(before), before.hash) == (_identity(prompt), prompt.hash)):
            self._metrics.withdrawn(_identity(before), before.hash)

    @property
    def _namespace(self) -> str:
        loaded = self.source.loaded
        return loaded.snapshot.namespace if loaded else self._default_namespace

    def _count(self, origin: Origin) -> None:
        self._metrics.loaded(self._namespace, self.name, origin)


def built_in(name: str, content: Content, version: str) -> Version:
    """Make a version of a text, a list of messages or a mapping in the form of a PromptVersion's spec.

    Raises:
        ValueError: the content is none of these.
    """
    spec = _spec(content)
    try:
        return parse_version(version, spec, wire.content_hash(spec))
    except ValueError as error:
        raise ValueError(f"built-in prompt '{name}': {error}") from None


def fix(prompts: Mapping[str, Prompt] | None) -> Mapping[str, Prompt] | None:
    """Let every client of the process serve only these (None: ends that); return what was fixed before."""
    global _fixed
    before, _fixed = _fixed, prompts
    return before


def _spec(content: Content) -> Mapping[str, Any]:
    if isinstance(content, str):
        return {"text": content}
    if isinstance(content, Mapping):
        return content
    return {"messages": list(content)}


def _fixed_prompt(name: str) -> Prompt:
    if _fixed is None or name not in _fixed:
        raise PromptUnavailable(f"testing.fixed() holds no prompt '{name}': add it there")
    return _fixed[name]


def _identity(prompt: Prompt) -> Identity:
    return Identity(prompt.namespace, prompt.name, prompt.version)


def _after_fork() -> None:
    for client in list(_clients):
        client._after_fork()  # noqa: SLF001 - the same module


_fixed: Mapping[str, Prompt] | None = None
_clients: weakref.WeakSet[Client] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
