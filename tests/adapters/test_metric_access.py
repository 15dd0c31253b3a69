"""Certificates and credentials of metric sources: a real Prometheus with TLS, what is sent, what is never said."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml
from tests.adapters.answering import Server, element, raw, refusal, serving, vector

from devcluster import tools
from devcluster.ports import LOOPBACK, free_port
from devcluster.processes import ProcessSet
from prompt_operator.adapters.prometheus import Limits, PrometheusMetrics
from prompt_operator.ports import Sample, Unavailable
from prompt_operator.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

AT = datetime.now(UTC)
LIMITS = Limits(connect_seconds=2.0, total_seconds=5.0, failures=100)
PASSWORD = "open sesame"
BCRYPT = "$2b$04$A4U17dvkrCd83nRyokYn8.hZGwmTQU3czScV8LA/TPnE9orqxKXyW"
"""Of PASSWORD."""
SERVER_NAME = "prometheus.internal"
DEADLINE = 30.0


def replace_file(path: Path, content: bytes) -> None:
    """Put another file in its place in one step, as kubelet does with a mounted Secret."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


class Secured:
    """A real Prometheus that wants TLS, a client certificate and a password, and the files a client needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.foreign = trustme.CA(), trustme.CA()
        self.client = self.authority.issue_cert("operator@example.com")
        self.stranger = self.foreign.issue_cert("operator@example.com")
        server = self.authority.issue_cert(SERVER_NAME)
        self._write("ca.crt", self.authority.cert_pem)
        self._write("foreign.crt", self.foreign.cert_pem)
        self._write("server.crt", *server.cert_chain_pems)
        self._write("server.key", server.private_key_pem)
        self._write("web.yml", self._web_config())
        self._write("prometheus.yml", b"{}")
        self.url = f"https://{LOOPBACK}:{free_port()}"
        self.processes = ProcessSet(folder)

    def _write(self, name: str, *blobs: Any) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(blob if isinstance(blob, bytes) else blob.bytes() for blob in blobs))
        return path

    def _web_config(self) -> bytes:
        tls = {
            "cert_file": "server.crt",
            "key_file": "server.key",
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "ca.crt",
        }
        return yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"operator": BCRYPT}}).encode()

    def start(self) -> None:
        """Start it; whoever asks waits until it answers."""
        self.processes.spawn(
            "prometheus",
            [
                tools.ensure("prometheus") / "prometheus",
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--web.config.file={self.folder / 'web.yml'}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('https://')}",
            ],
        )

    def source(self, folder: Path, *, cert: trustme.LeafCert | None = None, **changed: Any) -> Source:
        """Write a client's files into a folder of its own and return settings that name them."""
        certificate = cert or self.client
        (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        (folder / "tls.key").write_bytes(certificate.private_key_pem.bytes())
        (folder / "password").write_text(f"{PASSWORD}\n")
        fields: dict[str, Any] = {
            "ca_file": str(self.folder / "ca.crt"),
            "cert_file": str(folder / "tls.crt"),
            "key_file": str(folder / "tls.key"),
            "server_name": SERVER_NAME,
            "username": "operator",
            "password_file": str(folder / "password"),
        }
        return Source(name="secured", url=self.url, **{**fields, **changed})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A running one, that has answered once."""
    one = Secured(tmp_path_factory.mktemp("secured"))
    one.start()
    try:
        asyncio.run(_until_ready(one, tmp_path_factory.mktemp("first")))
        yield one
    finally:
        one.processes.stop()


async def _until_ready(secured: Secured, folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    async with asking(secured.source(folder)) as metrics:
        while True:
            try:
                await metrics.query("vector(1)", datetime.now(UTC))
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return


@contextlib.asynccontextmanager
async def asking(source: Source) -> AsyncIterator[PrometheusMetrics]:
    """A client of a source."""
    metrics = PrometheusMetrics(source, limits=LIMITS)
    try:
        yield metrics
    finally:
        await metrics.close()


async def test_certificates_and_password_open_a_real_prometheus(secured: Secured, tmp_path: Path) -> None:
    """Own authority, client certificate, basic authentication, and a name that is not the address's."""
    async with asking(secured.source(tmp_path)) as metrics:
        assert await metrics.query("vector(7)", datetime.now(UTC)) == [Sample({}, 7.0)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ca_file": "foreign.crt"}, "certificate verify failed"),
        ({"ca_file": ""}, "certificate verify failed"),
        ({"server_name": ""}, "IP address mismatch|Hostname mismatch|doesn't match"),
        ({"cert_file": "", "key_file": ""}, "cannot be reached|certificate required"),
        ({"username": "", "password_file": ""}, "answered 401: .*check the credentials"),
        ({"username": "somebody"}, "answered 401: .*check the credentials"),
    ],
    ids=["another authority", "the machine's authorities", "no name", "no certificate", "no password", "another user"],
)
async def test_each_of_them_is_needed(secured: Secured, tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    """Without one of them nothing is answered, and the message says which side refused; the password is not in it."""
    if changed.get("ca_file"):
        changed = {"ca_file": str(secured.folder / changed["ca_file"])}
    async with asking(secured.source(tmp_path, **changed)) as metrics:
        with pytest.raises(Unavailable, match=message) as caught:
            await metrics.query("vector(1)", datetime.now(UTC))
        assert PASSWORD not in str(caught.value)


async def test_rotated_certificates_and_passwords_are_taken_up(secured: Secured, tmp_path: Path) -> None:
    """Files that kubelet replaces work from the next query on, without a restart."""
    source = secured.source(tmp_path, cert=secured.stranger)
    replace_file(tmp_path / "password", b"wrong")
    async with asking(source) as metrics:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await metrics.query("vector(1)", datetime.now(UTC))
        replace_file(tmp_path / "tls.crt", b"".join(blob.bytes() for blob in secured.client.cert_chain_pems))
        replace_file(tmp_path / "tls.key", secured.client.private_key_pem.bytes())
        with pytest.raises(Unavailable, match="answered 401"):
            await metrics.query("vector(1)", datetime.now(UTC))
        replace_file(tmp_path / "password", PASSWORD.encode())
        assert await metrics.query("vector(1)", datetime.now(UTC))


async def test_certificates_that_do_not_fit_leave_the_last_ones_in_use(
    secured: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Between the two writes of a rotation the key is another certificate's: queries go on, one line says so."""
    async with asking(secured.source(tmp_path)) as metrics:
        assert await metrics.query("vector(1)", datetime.now(UTC))
        replace_file(tmp_path / "tls.key", secured.stranger.private_key_pem.bytes())
        with caplog.at_level("WARNING"):
            for _ in range(3):
                assert await metrics.query("vector(1)", datetime.now(UTC))
    (line,) = caplog.messages
    assert "the last ones stay in use" in line
    assert str(tmp_path / "tls.key") in line


# --- what is sent, what is said


@pytest.fixture
def server() -> Iterator[Server]:
    """A loopback server that keeps the headers of each query."""
    with serving() as running:
        yield running


def test_a_token_is_read_again_when_its_file_changes(server: Server, tmp_path: Path) -> None:
    """Also where it is rewritten in place with another token of the same length."""
    token = tmp_path / "token"
    token.write_text("first-token\n")
    asyncio.run(_ask_after(server, token, ["first-token", "other-token", "third-token"]))
    assert [headers["Authorization"] for headers in server.headers] == [
        "Bearer first-token",
        "Bearer other-token",
        "Bearer third-token",
    ]


async def _ask_after(server: Server, token: Path, contents: list[str]) -> None:
    async with asking(Source(name="a", url=server.url, bearer_token_file=str(token))) as metrics:
        for number, content in enumerate(contents):
            token.write_text(content)  # noqa: ASYNC240  a small file
            os.utime(token, ns=(number, number))
            await metrics.query("up", AT)


async def test_tenant_and_headers_go_with_each_query(server: Server, tmp_path: Path) -> None:
    """Mimir's tenant, a header from the settings, one from a file, and basic authentication in UTF-8."""
    (tmp_path / "key").write_text("gate-key")
    (tmp_path / "password").write_bytes("pässword".encode())
    source = Source.model_validate(
        {
            "name": "mimir",
            "url": server.url,
            "tenant": "team-shop",
            "username": "ana",
            "passwordFile": str(tmp_path / "password"),
            "headers": [
                {"name": "X-Plain", "value": "plain"},
                {"name": "X-Gateway-Key", "valueFile": str(tmp_path / "key")},
            ],
        }
    )
    async with asking(source) as metrics:
        await metrics.query("up", AT)
    (headers,) = server.headers
    assert headers["X-Scope-OrgID"] == "team-shop"
    assert headers["X-Plain"] == "plain"
    assert headers["X-Gateway-Key"] == "gate-key"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "ana:pässword"


async def test_nothing_is_taken_from_netrc(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests library would send what it finds there; only the settings say what is sent."""
    (tmp_path / "netrc").write_text(f"machine {LOOPBACK} login ana password from-netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with asking(Source(name="a", url=server.url)) as metrics:
        await metrics.query("up", AT)
    assert "Authorization" not in server.headers[0]


UNREADY: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "cannot be read: No such file"),
    "empty": (b" \n", "is empty"),
    "two lines": (b"s3cret\nmore-s3cret", "more than one line"),
}


@pytest.mark.parametrize(("content", "message"), UNREADY.values(), ids=list(UNREADY))
async def test_a_file_that_cannot_be_used_is_named_without_its_content(
    server: Server, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """Nothing is asked, the breaker stays closed, and the query after the file is there is answered."""
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    async with asking(Source(name="a", url=server.url, bearer_token_file=str(token))) as metrics:
        for _ in range(10):
            with pytest.raises(Unavailable, match=f"bearerTokenFile {re.escape(str(token))} .*{message}") as caught:
                await metrics.query("up", AT)
            assert "s3cret" not in str(caught.value)
        assert not metrics.breaker.is_open
        assert server.asked == []
        replace_file(token, b"good-token")
        server.behaviour = vector(element())
        assert await metrics.query("up", AT)


async def test_a_token_that_went_away_stays_in_use(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A Secret that is deleted under the operator does not blind it; one line names the file, not the token."""
    token = tmp_path / "token"
    token.write_text("s3cret")
    async with asking(Source(name="a", url=server.url, bearer_token_file=str(token))) as metrics:
        await metrics.query("up", AT)
        token.unlink()
        for _ in range(3):
            await metrics.query("up", AT)
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer s3cret"}
    (line,) = caplog.messages
    assert str(token) in line
    assert "s3cret" not in line


@pytest.mark.parametrize("status", [401, 500, 422])
async def test_a_server_that_repeats_the_token_does_not_give_it_away(
    server: Server, tmp_path: Path, status: int
) -> None:
    """What a server says stands in errors, statuses and logs: our credentials are taken out of it."""
    token = tmp_path / "token"
    token.write_text("s3cret-token")
    server.behaviour = refusal(status, "no such token: Bearer s3cret-token")
    async with asking(Source(name="a", url=server.url, bearer_token_file=str(token))) as metrics:
        with pytest.raises(Unavailable, match=r"no such token: \*\*\*") as caught:
            await metrics.query("up", AT)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(metrics)


async def test_sources_fail_one_by_one(server: Server) -> None:
    """The breaker of a server that fails is its own: another one is asked as before."""
    with serving() as broken:
        broken.behaviour = raw(b"", 503)
        limits = Limits(failures=2)
        bad = PrometheusMetrics(Source(name="bad", url=broken.url), limits=limits)
        good = PrometheusMetrics(Source(name="good", url=server.url), limits=limits)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await bad.query("up", AT)
            await good.query("up", AT)
        assert (bad.breaker.state()["open"], good.breaker.state()["open"]) == (True, False)
        assert bad.breaker.state()["name"] == "metric source bad"
        assert 0 < bad.breaker.state()["nextAttemptInSeconds"] <= 90
        await bad.close()
        await good.close()
