"""What can go wrong, for the application.

PromptError
├── PromptUnavailable   nothing can be served: no readable folder, no cache, no fallback
└── RenderError         a template and the given variables do not fit
"""

from __future__ import annotations


class PromptError(Exception):
    """Base of the errors of this package. No message ever holds prompt text or a variable's value."""


class PromptUnavailable(PromptError):  # noqa: N818 - says what is so; HTTP's "unavailable" is the field's word
    """There is nothing to serve under this name; the message says what was tried and what to do."""


class RenderError(PromptError, ValueError):
    """The template and the given variables do not fit; the message names the placeholder or variable."""
