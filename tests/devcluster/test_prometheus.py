"""The local Prometheus: real, scraping what it is told to, with the labels the application gave."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.devcluster.support import eventually

from devcluster import ports, prometheus
from devcluster.prometheus import Prometheus


class Metrics(BaseHTTPRequestHandler):
    """Serves one sample."""

    def do_GET(self) -> None:
        """Answer with a counter that carries our own labels."""
        body = b'answers_total{prompt_namespace="shop",outcome="ok"} 3\n'
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def application() -> Iterator[str]:
    """The address of something to scrape."""
    with ThreadingHTTPServer((ports.LOOPBACK, 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"{ports.LOOPBACK}:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus whose first choice of port was taken by somebody else."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as squatter:
        squatter.bind((ports.LOOPBACK, 0))
        squatter.listen()
        choices = iter([squatter.getsockname()[1]])
        patch.setattr(prometheus, "free_port", lambda: next(choices, None) or ports.free_port())
        started = Prometheus.start(tmp_path_factory.mktemp("prometheus server"))
    yield started
    started.stop()


def test_targets_can_change_while_it_runs(server: Prometheus, application: str) -> None:
    """A new target is scraped within seconds and its labels stay; a removed one is no longer scraped."""
    server.set_targets([application])
    assert eventually(lambda: server.query('answers_total{prompt_namespace="shop",outcome="ok"} == 3'))
    server.set_targets([])
    assert eventually(lambda: not server.query("answers_total"))


def test_version_and_promtool_are_of_the_pinned_release(server: Prometheus) -> None:
    """The programs say which release they are."""
    assert server.version().startswith("v3.")
    assert server.promtool.is_file()
