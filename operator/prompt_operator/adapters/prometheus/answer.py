"""Judging an answer: a whole instant vector, or Unavailable with the cause.

An answer can have 100,000 elements and more. They become samples while the JSON is read: half the time of a second pass
over the parsed document, two thirds of its memory, and the interpreter serves other threads in between.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
import urllib3

from prompt_operator.ports import Sample, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ABOUT_THE_QUERY = frozenset({requests.codes.bad_request, requests.codes.unprocessable_entity})
_ABOUT_US = frozenset({requests.codes.unauthorized, requests.codes.forbidden})
_CUT = ("truncat", "partial", "limit")
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """What is waited for and accepted."""

    connect_seconds: float = 3.0
    total_seconds: float = 30.0
    """For one query, from sending it to the last byte of the answer; Prometheus is told the same."""
    response_bytes: int = 64 * 1024 * 1024
    """Of the answer, decompressed."""
    failures: int = 5
    """In a row, after which the server is left alone."""
    open_seconds: float = 90.0


class Refused(Unavailable):
    """The server works, but not for this query (400, 422) or not completely: says nothing about other queries."""


class Envelope:
    """Response hook: reads the answer within its limits, and lets it pass only if it is whole.

    Args:
        limits: times and sizes.
        conceal: takes our own credentials out of what the server says.
    """

    def __init__(self, limits: Limits, conceal: Callable[[str], str]) -> None:
        self._limits, self._conceal = limits, conceal

    def __call__(self, response: requests.Response, **_: Any) -> None:
        """Read, judge and keep the parsed answer; Unavailable for one that is not whole."""
        if response.is_redirect:
            raise Unavailable(f"Prometheus redirects to {response.headers['Location']}: configure the address it names")
        body = self._read(response)
        if response.status_code != requests.codes.ok:
            raise self._failure(response.status_code, body)
        envelope = _parsed(body)
        _check_whole(envelope)
        response.json = lambda **_: envelope  # type: ignore[method-assign]  # parsed once is enough

    def _failure(self, status: int, body: bytes) -> Unavailable:
        """Turn a status into what to do, with Prometheus' own words where there are some."""
        try:
            said = str(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError, RecursionError):
            said = body[:200].decode(errors="replace")
        kind = Refused if status in _ABOUT_THE_QUERY else Unavailable
        hint = "; check the credentials of this source" if status in _ABOUT_US else ""
        return kind(f"Prometheus answered {status}: {' '.join(self._conceal(said).split())[:_SHOWN]}{hint}")

    def _read(self, response: requests.Response) -> bytes:
        """Read the body piece by piece: a server that drips or floods is cut off."""
        body = bytearray()
        try:
            for piece in self._pieces(response):
                body += piece
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"Prometheus broke off its answer: {error}") from error
        response._content = b""  # noqa: SLF001  requests would read a body that was not read, and keeps what was
        return bytes(body)

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """Yield what is there as soon as it is; `iter_content` would wait for full pieces, however slowly they come."""
        limits, size = self._limits, 0
        deadline = time.monotonic() + limits.total_seconds - response.elapsed.total_seconds()
        while piece := response.raw.read1(65536, decode_content=True):
            size += len(piece)
            if size > limits.response_bytes:
                response.close()
                raise Refused(f"Prometheus answered more than {limits.response_bytes} bytes: ask for fewer prompts")
            yield piece
            if time.monotonic() > deadline:
                response.close()
                raise Unavailable(f"Prometheus did not finish its answer within {limits.total_seconds:g} s")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        envelope = json.loads(body, object_hook=_element)
    except (ValueError, RecursionError) as error:
        raise Unavailable(f"Prometheus' answer is not JSON: {error}") from error
    if not isinstance(envelope, dict) or not isinstance(envelope.get("data"), dict):
        raise Unavailable("the answer is not one of Prometheus' API: is the address right?")
    return envelope


def _element(node: dict[str, Any]) -> dict[str, Any] | Sample:
    """Turn an element into its sample: `{"metric": {label: text}, "value": [time, "number"]}`.

    Labels may be called `metric` and `value` too, but theirs are texts. Numbers are texts, NaN and +Inf among them.
    """
    value = node.get("value")
    if type(value) is not list:
        return node
    try:
        (_, number), labels = value, node["metric"]
        if isinstance(number, str) and isinstance(labels, dict):
            return Sample(labels, float(number))
    except (KeyError, ValueError):
        pass
    raise _no_sample(node)


def _no_sample(element: object) -> Unavailable:
    return Unavailable(f"an element of Prometheus' answer is not a sample with a number: {str(element)[:200]}")


def _check_whole(envelope: dict[str, Any]) -> None:
    """Raise for an answer that is not a complete instant vector. Of infos only those matter that say it was cut."""
    if envelope.get("status") != "success":
        raise Unavailable(f"Prometheus answered {envelope.get('status')}: {str(envelope.get('error'))[:_SHOWN]}")
    if problem := _says_partial(envelope):
        raise Refused(problem)
    data = envelope["data"]
    if data.get("resultType") != "vector" or not isinstance(data.get("result"), list):
        raise Refused(f"the query gave a {data.get('resultType')}, not an instant vector")
    if strange := [element for element in data["result"] if type(element) is not Sample]:
        raise _no_sample(strange[0])


def _says_partial(envelope: dict[str, Any]) -> str:
    """Return how the answer says of itself that it may be incomplete; empty when it does not."""
    if warnings := envelope.get("warnings"):
        return f"Prometheus answered with warnings, so the answer may be partial: {str(warnings)[:_SHOWN]}"
    if envelope.get("isPartial") or envelope["data"].get("isPartial"):
        return "the answer says that it is partial (isPartial): a store behind this source did not answer"
    infos = envelope.get("infos") or ()
    if cut := [info for info in infos if any(word in str(info).lower() for word in _CUT)]:
        return f"Prometheus' answer is not complete: {str(cut)[:_SHOWN]}"
    return ""
