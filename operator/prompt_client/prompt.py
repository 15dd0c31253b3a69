"""What `get()` returns: one version of a prompt, as it was served at that moment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prompt_client.observe import Observation
from prompt_client.render import RenderedMessage, render_messages, render_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_client.metrics import Recorder
    from prompt_client.snapshot import Message, Version
    from prompt_client.source import Origin


@dataclass(frozen=True, slots=True, repr=False)
class Prompt:
    """One version of a prompt. It never changes: a request keeps the version that it began with.

    Attributes:
        namespace: the Kubernetes namespace of the prompt; for a fallback what the client was configured with.
        name: the prompt's name.
        revision: revision of the publication; 0 when there was none. Compare hashes, not revisions, for order.
        is_fallback: the application's built-in text is served.
        arm: the arm of a running experiment; None while no traffic is split.
        source: `configmap`, `cache` (the copy on disk) or `fallback`.
    """

    namespace: str
    name: str
    revision: int
    is_fallback: bool
    arm: str | None
    source: Origin
    _version: Version
    _recorder: Recorder = field(compare=False)
    _loaded_at: float = field(compare=False)

    def __repr__(self) -> str:
        return f"<Prompt {self.namespace}/{self.name} {self.version} from {self.source}>"

    @property
    def version(self) -> str:
        """The version, such as `1.4.0`; `fallback` for the built-in text."""
        return self._version.version

    @property
    def hash(self) -> str:
        """The verified content hash, `sha256:<64 hex digits>`."""
        return self._version.hash

    @property
    def text(self) -> str | None:
        """The template, not rendered; None when the version holds messages."""
        return self._version.text

    @property
    def messages(self) -> tuple[Message, ...] | None:
        """The templates of the messages, not rendered; None when the version holds a text."""
        return self._version.messages

    @property
    def model(self) -> Mapping[str, Any]:
        """The version's `model` block as written, such as `{"name": "…", "temperature": "0.2"}`; may be empty."""
        return self._version.model

    @property
    def output_schema(self) -> str | None:
        """JSON Schema of the answer, as JSON text."""
        return self._version.output_schema

    @property
    def age(self) -> float:
        """Seconds since this process loaded this content."""
        return time.monotonic() - self._loaded_at

    def render(self, /, **variables: Any) -> str:
        """Render the text with the given variables; see `prompt_client.render.render_text`."""
        return render_text(self._version, variables)

    def render_messages(self, /, **variables: Any) -> list[RenderedMessage]:
        """Render to chat messages; see `prompt_client.render.render_messages`."""
        return render_messages(self._version, variables)

    def observe(self) -> Observation:
        """Return a context manager that records one request made with this version."""
        return Observation(self._recorder)
