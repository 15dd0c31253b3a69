"""Prompts from a mounted ConfigMap, for applications. The standard library is all it needs at import.

    import prompt_client

    prompt_client.configure(fallbacks={"greeting": "Say hello to {{ name }}."})
    prompt = prompt_client.get("greeting")
    with prompt.observe() as request:
        answer = ask_a_model(prompt.render(name="Ada"))
        request.tokens(input=answer.input_tokens, output=answer.output_tokens)

`Client` is for programs that want more than one configuration, `prompt_client.testing` for their tests.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from prompt_client.client import Client
from prompt_client.errors import PromptError, PromptUnavailable, RenderError
from prompt_client.observe import Observation
from prompt_client.prompt import Prompt

if TYPE_CHECKING:
    import os

__all__ = (
    "Client",
    "Observation",
    "Prompt",
    "PromptError",
    "PromptUnavailable",
    "RenderError",
    "configure",
    "get",
)

_lock = threading.Lock()
_client: Client | None = None


def configure(folder_root: str | os.PathLike[str] | None = None, **options: Any) -> Client:
    """Make the client that `get()` uses, with the arguments of `Client`; the one before is closed."""
    global _client
    client = Client(folder_root, **options)
    with _lock:
        before, _client = _client, client
    if before:
        before.close()
    return client


def get(name: str) -> Prompt:
    """Return the prompt as it is served now; see `Client.get`. Without `configure()` the defaults of `Client` hold."""
    return (_client or _default()).get(name)


def _default() -> Client:
    global _client  # noqa: PLW0603
    with _lock:
        if _client is None:
            _client = Client()
        return _client
