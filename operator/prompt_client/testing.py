"""Test mode: fixed prompts for the tests of an application, without files, threads or metrics."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from prompt_client.client import Content, built_in, fix
from prompt_client.metrics import NoRecorder
from prompt_client.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FIXED_VERSION: Final = "0.0.0-fixed"


@contextlib.contextmanager
def fixed(prompts: Mapping[str, Content]) -> Iterator[None]:
    """Serve exactly these prompts inside the block, from every client of the process; blocks may be nested.

    `prompt_client.get()` and `Client.get()` of any other name raise `PromptUnavailable`.

        with testing.fixed({"greeting": "Greet {{ name }}."}):
            assert answer("Ada") == ...

    Raises:
        ValueError: a prompt that could not be published either.
    """
    before = fix({name: _prompt(name, content) for name, content in prompts.items()})
    try:
        yield
    finally:
        fix(before)


def _prompt(name: str, content: Content) -> Prompt:
    return Prompt(
        namespace="",
        name=name,
        revision=0,
        is_fallback=False,
        arm=None,
        source="configmap",
        _version=built_in(name, content, FIXED_VERSION),
        _recorder=NoRecorder(),
        _loaded_at=time.monotonic(),
    )
