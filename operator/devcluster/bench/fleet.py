"""Applications that serve many prompts and are all well, as Prometheus sees them: 17 series for each prompt."""

import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from devcluster.ports import LOOPBACK

SERIES = 17
_A_SECOND = 0.5  # requests of each prompt: 30 in the window of a minute, 150 in that of five
_ERRORS = 0.01
_SHARES = {
    "0.1": 0.1,
    "0.25": 0.3,
    "0.5": 0.6,
    "0.75": 0.8,
    "1.0": 0.9,
    "1.5": 0.95,
    "2.0": 0.98,
    "2.5": 0.99,
    "5.0": 1.0,
    "7.5": 1.0,
    "10.0": 1.0,
    "30.0": 1.0,
    "+Inf": 1.0,
}
"""Upper bound of a bucket -> share of the requests at or below."""
_MEAN = 0.6  # seconds


class Fleet:
    """Exports the metrics of prompts on a few ports of this machine; a context manager.

    Args:
        prompts: namespace and name of each.
        version: the version that all of them serve.
        ports: targets that share the prompts.
    """

    def __init__(self, prompts: Sequence[tuple[str, str]], version: str = "1.0.0", *, ports: int = 8) -> None:
        self._began = time.monotonic()
        self._servers = [self._serve([_block(*place, version) for place in prompts[n::ports]]) for n in range(ports)]

    @property
    def targets(self) -> list[str]:
        """Where Prometheus finds them."""
        return [f"{LOOPBACK}:{server.server_port}" for server in self._servers]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _serve(self, blocks: Sequence[str]) -> ThreadingHTTPServer:
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                values = fleet._values()
                body = "".join([block % values for block in blocks]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return ThreadingHTTPServer((LOOPBACK, 0), Handler)

    def _values(self) -> tuple[int, ...]:
        requests = (time.monotonic() - self._began) * _A_SECOND
        counts = (requests * (1 - _ERRORS), requests * _ERRORS, *(requests * share for share in _SHARES.values()))
        return tuple(map(int, (*counts, requests, requests * _MEAN)))


def _block(namespace: str, prompt: str, version: str) -> str:
    labels = f'prompt_namespace="{namespace}",prompt="{prompt}",version="{version}"'
    histogram = "llm_prompt_request_duration_seconds"
    names = [f'llm_prompt_requests_total{{{labels},outcome="{outcome}"}}' for outcome in ("success", "error")]
    names += [f'{histogram}_bucket{{{labels},le="{bound}"}}' for bound in _SHARES]
    names += [f"{histogram}_{part}{{{labels}}}" for part in ("count", "sum")]
    return "".join(f"{name} %d\n" for name in names)
