"""What goes to the API server and what comes back: requests, answers, and what to do about a failure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from yarl import URL

from prompt_operator.ports import (
    Conflict,
    Forbidden,
    GiveUp,
    Kind,
    Manifest,
    NotFound,
    Retry,
    Terminating,
    Unavailable,
    UnknownKind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
_SERVER_ERRORS = range(500, 600)
_MESSAGE_LENGTH = 300
_LONGEST_RETRY_AFTER = 120.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `verb` is its metrics label."""

    verb: str
    method: str
    kind: Kind
    namespace: str
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    content_type: str = JSON
    accept: str = JSON

    def __str__(self) -> str:
        """Name the request in errors: method, kind and object, never its body."""
        target = "/".join(part for part in (self.namespace, self.name) if part)
        return " ".join(part for part in (self.method, self.kind.kind, target, self.subresource) if part)

    def url(self, server: str) -> URL:
        """Return the whole address."""
        root = "apis" if "/" in self.kind.api_version else "api"
        scope = ("namespaces", self.namespace) if self.namespace else ()
        parts = (root, *self.kind.api_version.split("/"), *scope, self.kind.plural, self.name, self.subresource)
        path = "/".join(quote(part, safe="") for part in parts if part)
        return URL(f"{server}/{path}?{urlencode(self.query)}" if self.query else f"{server}/{path}", encoded=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back with a status of 400 or more: the parts of a Kubernetes Status that decide."""

    status: int
    reason: str = ""
    message: str = ""
    after: float | None = None
    causes: bool = False
    """Whether it names the fields that are wrong."""
    terminating: bool = False
    """Whether the namespace is being deleted."""
    continue_token: str = ""


class Expired(Retry):
    """The continue token of a list is too old (410); `token` continues it at the newest state, if not empty."""

    def __init__(self, message: str, token: str) -> None:
        super().__init__(message)
        self.token = token


class AlreadyExists(Conflict):
    """A create met an object of the same name."""


def failure(ask: Ask, answer: Answer) -> Retry | GiveUp:  # noqa: PLR0911  a table of codes
    """Translate an answer of the API server into what to do about it: the one place that knows the codes."""
    text = f"{ask}: {answer.status} {answer.reason}: {shorten(answer.message)}"
    match answer.status:
        case 403:
            return Terminating(text) if answer.terminating else Forbidden(text)
        case 404:
            return NotFound(text) if answer.reason else UnknownKind(text)
        case 409 if answer.reason == "AlreadyExists":
            return AlreadyExists(text)
        case 409:
            return Conflict(text, after=answer.after)
        case 410:
            return Expired(text, answer.continue_token)
        case 422 if ask.content_type == JSON_PATCH and not answer.causes:
            return Conflict(text)  # an operation did not fit the object: it is not as it was when it was read
        case 500 if "field not declared in schema" in answer.message:
            return GiveUp(text)  # the server says 500, but only another CRD or another release helps
        case 401 | 408 | 429:
            return Retry(text, after=answer.after)
        case status if status in _SERVER_ERRORS:
            return Retry(text, after=answer.after)
    return GiveUp(text)


def shorten(message: str) -> str:
    """Return the server's message in one short line, without the values it quotes: they may be prompt text."""
    message = " ".join(message.split())
    message = re.sub(r'(\w+ value:) ("(?:[^"\\]|\\.)*"|[\[{&].*|[^"\s]+)', r"\1 …", message)
    message = re.sub(r"(expected \w+, got) .*", r"\1 …", message)
    return message if len(message) <= _MESSAGE_LENGTH else f"{message[:_MESSAGE_LENGTH]}…"


def parse(ask: Ask, raw: bytes) -> Manifest:
    """Return the object in a good answer; Unavailable when it is not one."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Unavailable(f"{ask}: the answer is not JSON ({len(raw)} bytes)") from error
    if not isinstance(body, dict):
        raise Unavailable(f"{ask}: the answer is not an object")
    return body


def answer_of(status: int, raw: bytes, headers: Mapping[str, str]) -> Answer:
    """Return what a bad answer says, be it a Kubernetes Status or a proxy's page."""
    after = _retry_after(headers.get("Retry-After", ""))
    try:
        body = json.loads(raw)
        details, metadata = body.get("details") or {}, body.get("metadata") or {}
        return Answer(
            status=status,
            reason=str(body.get("reason") or ""),
            message=str(body.get("message") or ""),
            after=after or _retry_after(str(details.get("retryAfterSeconds", ""))),
            causes=bool(details.get("causes")),
            terminating=any(cause.get("reason") == "NamespaceTerminating" for cause in details.get("causes") or ()),
            continue_token=str(metadata.get("continue") or ""),
        )
    except (ValueError, AttributeError):  # a proxy's page, not a Kubernetes Status
        return Answer(status, message=raw[:_MESSAGE_LENGTH].decode(errors="replace"), after=after)


def _retry_after(value: str) -> float | None:
    """Return the seconds asked for, at most two minutes; the API server never sends the date form."""
    return min(float(value), _LONGEST_RETRY_AFTER) if value.isascii() and value.isdigit() else None
