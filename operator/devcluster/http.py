"""Small requests to servers on loopback, which no proxy of the environment may take."""

import json
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TIMEOUT = 10.0


def answers(url: str, ca_file: Path | None = None, token: str = "") -> bool:
    """Whether a GET is answered with success."""
    try:
        return 200 <= _send(url, ca_file=ca_file, token=token)[0] < 300  # noqa: PLR2004
    except (OSError, ValueError):
        return False


def get_json(url: str, query: Mapping[str, str] | None = None) -> Any:
    """GET and decode JSON; OSError when the server does not answer or answers with an error."""
    return json.loads(_send(f"{url}?{urllib.parse.urlencode(query)}" if query else url)[1])


def post(url: str) -> None:
    """POST without a body; OSError when the server does not answer or answers with an error."""
    _send(url, method="POST")


def _send(url: str, *, method: str = "GET", ca_file: Path | None = None, token: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {token}"} if token else {})
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca_file:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file))))
    with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT) as response:
        return response.status, response.read()
