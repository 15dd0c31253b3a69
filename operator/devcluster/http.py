"""Small requests to servers on loopback, which no proxy of the environment may take."""

import json
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TIMEOUT = 30.0  # seconds
_PROBE_TIMEOUT = 2.0  # a port that somebody else holds may accept and never answer


def answers(url: str, ca_file: Path | None = None, token: str = "") -> bool:
    """Whether a GET is answered with success, and soon."""
    try:
        _send(urllib.request.Request(url, headers=_bearer(token)), ca_file, _PROBE_TIMEOUT)
    except (OSError, ValueError):
        return False
    return True


def get_json(url: str, query: Mapping[str, str] | None = None, *, timeout: float = _TIMEOUT) -> Any:
    """GET and decode JSON; OSError when the server does not answer or answers with an error."""
    return json.loads(_send(urllib.request.Request(f"{url}?{urllib.parse.urlencode(query or {})}"), None, timeout))


def get_text(url: str, *, timeout: float = _TIMEOUT) -> str:
    """GET and decode UTF-8; OSError when the server does not answer or answers with an error."""
    return _send(urllib.request.Request(url), None, timeout).decode()


def post(url: str, body: object = None, *, timeout: float = _TIMEOUT) -> bytes:
    """POST `body` as JSON and return the answer; OSError when there is none or it is an error."""
    data = b"" if body is None else json.dumps(body).encode()
    return _send(urllib.request.Request(url, data=data, method="POST"), None, timeout)


def probe_json(url: str, body: object = None) -> Any:
    """GET, or POST `body`, and decode JSON; None when nobody answers that soon."""
    try:
        if body is None:
            return get_json(url, timeout=_PROBE_TIMEOUT)
        return json.loads(post(url, body, timeout=_PROBE_TIMEOUT))
    except (OSError, ValueError):
        return None


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _send(request: urllib.request.Request, ca_file: Path | None, timeout: float) -> bytes:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca_file:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file))))
    with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
        body: bytes = response.read()
        return body
