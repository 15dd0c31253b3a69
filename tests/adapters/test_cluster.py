"""`ApiCluster` against a real HTTP server on loopback that answers as the test says."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from prompt_operator.adapters.cluster import ApiCluster, shorten
from prompt_operator.ports import (
    CONFIG_MAP,
    PROMPT,
    Conflict,
    Forbidden,
    GiveUp,
    Kind,
    NotFound,
    Retry,
    Unavailable,
    UnknownKind,
)
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SECRET = "You are a helpful assistant that must never appear in a log"
BODY = {"metadata": {"namespace": "team", "name": "greeting"}, "data": {"prompt.txt": SECRET}}


class StoppedClock:
    """A wall clock that stands; the monotonic one moves a minute per look, so that nothing is skipped as too recent."""

    def __init__(self) -> None:
        self.ticks = 0.0

    def now(self) -> datetime:
        """Return noon."""
        return datetime(2026, 11, 21, 12, tzinfo=UTC)

    def monotonic(self) -> float:
        """Return a minute more each time."""
        self.ticks += 60
        return self.ticks


@dataclass
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """A fake API server: answers in order, the last one for ever."""

    cluster: ApiCluster
    telemetry: Telemetry
    answers: list[Callable[[web.Request], Awaitable[web.StreamResponse]]]
    seen: list[Seen] = field(default_factory=list)
    tokens: list[bool] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note the request and answer it."""
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    def requests(self, verb: str, code: str) -> float | None:
        """Return the counter of requests."""
        labels = {"verb": verb, "code": code}
        return self.telemetry.registry.get_sample_value("prompt_operator_api_requests_total", labels)


Answer = Any


def says(status: int, body: Any = None, **headers: str) -> Answer:
    """Answer with a status and a JSON body (or raw text)."""

    async def answer(_: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body or {})
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return answer


def refuses(status: int, reason: str, message: str = "no", **more: Any) -> Answer:
    """Answer with a Kubernetes Status."""
    return says(status, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, **more})


@asynccontextmanager
async def api(*answers: Answer, seconds: float = 5.0, writes: int = 16) -> AsyncIterator[Api]:
    """Start the fake server and a client for it."""
    tokens: list[bool] = []

    async def authorization(rejected: bool) -> str:  # noqa: FBT001
        tokens.append(rejected)
        return f"Bearer {len(tokens)}"

    answering: list[Api] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answering[0].handle(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(application) as server:
        address = str(server.make_url("")).rstrip("/")
        access = SimpleNamespace(
            server=address, tls=None, server_hostname=None, proxy=None, authorization=authorization
        )
        telemetry = Telemetry()
        cluster = ApiCluster(access, telemetry, StoppedClock(), version="1.2.3", timeout=seconds, writes=writes)
        answering.append(Api(cluster, telemetry, list(answers), tokens=tokens))
        async with cluster:
            yield answering[0]


# --- what is sent


async def test_apply_sends_a_forced_strict_server_side_apply() -> None:
    """Path, query, content type, token and User-Agent are what server-side apply needs; the body is JSON."""
    async with api(says(200, {"metadata": {"resourceVersion": "7"}})) as fake:
        answer = await fake.cluster.apply(CONFIG_MAP, BODY, manager="prompt-operator-projection")
    (seen,) = fake.seen
    assert answer == {"metadata": {"resourceVersion": "7"}}
    assert (seen.method, seen.path) == ("PATCH", "/api/v1/namespaces/team/configmaps/greeting")
    assert seen.query == {"fieldManager": "prompt-operator-projection", "force": "true", "fieldValidation": "Strict"}
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert seen.headers["User-Agent"] == "prompt-operator/1.2.3"
    assert seen.headers["Authorization"] == "Bearer 1"
    assert seen.body == BODY
    assert fake.requests("apply", "200") == 1


async def test_status_is_applied_to_its_subresource() -> None:
    """`subresource` ends the path of a custom resource in its API group."""
    async with api(says(200)) as fake:
        await fake.cluster.apply(PROMPT, BODY, manager="m", subresource="status")
    assert fake.seen[0].path == "/apis/promptops.dev/v1alpha1/namespaces/team/prompts/greeting/status"


async def test_create_json_patch_delete_and_get_send_their_bodies() -> None:
    """Each verb has its method, content type and body; delete names the uid it means."""
    operations = [{"op": "test", "path": "/metadata/resourceVersion", "value": "7"}]
    async with api(says(200)) as fake:
        await fake.cluster.create(CONFIG_MAP, BODY)
        await fake.cluster.json_patch(CONFIG_MAP, "team", "greeting", operations)
        await fake.cluster.delete(CONFIG_MAP, "team", "greeting", uid="u-1")
        await fake.cluster.get(CONFIG_MAP, "team", "greeting")
    post, patch, delete, get = fake.seen
    assert (post.method, post.path, post.body) == ("POST", "/api/v1/namespaces/team/configmaps", BODY)
    assert (patch.headers["Content-Type"], patch.body) == ("application/json-patch+json", operations)
    assert (delete.method, delete.body["preconditions"]) == ("DELETE", {"uid": "u-1"})
    assert (get.method, get.body) == ("GET", None)


async def test_what_lives_in_no_namespace_has_no_namespace_in_its_path() -> None:
    """A TokenReview is created at the cluster's scope."""
    review = Kind("authentication.k8s.io/v1", "TokenReview", "tokenreviews")
    async with api(says(201)) as fake:
        await fake.cluster.create(review, {"metadata": {}, "spec": {"token": "t"}})
    assert fake.seen[0].path == "/apis/authentication.k8s.io/v1/tokenreviews"


async def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    """A name with slashes and dots is sent as one segment."""
    async with api(says(404, {})) as fake:
        with pytest.raises(NotFound):
            await fake.cluster.get(CONFIG_MAP, "team", "../../secrets/x")
        assert fake.seen[0].path == "/api/v1/namespaces/team/configmaps/../../secrets/x"


# --- lists


def page(*names: str, token: str = "") -> Answer:
    """Answer with one page of a list."""
    items = [{"metadata": {"name": name}} for name in names]
    return says(200, {"kind": "List", "metadata": {"continue": token}, "items": items})


async def names(fake: Api, **options: Any) -> list[str]:
    """Return the names that a list gives."""
    return [item["metadata"]["name"] async for item in fake.cluster.list(CONFIG_MAP, **options)]


async def test_lists_come_page_by_page_with_their_type() -> None:
    """500 at a time, the token carried on, the selector in each request, kind and apiVersion put into each item."""
    async with api(page("a", "b", token="next"), page("c")) as fake:
        items = [item async for item in fake.cluster.list(CONFIG_MAP, namespace="team", labels="app=x")]
    assert [(item["metadata"]["name"], item["kind"], item["apiVersion"]) for item in items] == [
        (name, "ConfigMap", "v1") for name in "abc"
    ]
    assert [seen.query for seen in fake.seen] == [
        {"limit": "500", "labelSelector": "app=x"},
        {"limit": "500", "labelSelector": "app=x", "continue": "next"},
    ]
    assert fake.seen[0].path == "/api/v1/namespaces/team/configmaps"


async def test_a_list_over_all_namespaces_of_metadata_only() -> None:
    """No namespace means all; metadata only is asked for by the Accept header."""
    async with api(page("a")) as fake:
        assert await names(fake, metadata_only=True) == ["a"]
    assert fake.seen[0].path == "/api/v1/configmaps"
    assert "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" in fake.seen[0].headers["Accept"]


async def test_an_expired_continue_token_carries_on_with_the_fresh_one() -> None:
    """410 in the middle of a list loses nothing and gives nothing twice when the server sends a fresh token."""
    expired = refuses(410, "Expired", metadata={"continue": "fresh"})
    async with api(page("a", token="old"), expired, page("b")) as fake:
        assert await names(fake) == ["a", "b"]
    assert [seen.query.get("continue") for seen in fake.seen] == [None, "old", "fresh"]


async def test_an_expired_continue_token_without_a_fresh_one_restarts_the_list() -> None:
    """The list begins again from the start, and ends."""
    async with api(page("a", token="old"), refuses(410, "Expired"), page("a", token="new"), page("b")) as fake:
        assert await names(fake) == ["a", "a", "b"]
    assert [seen.query.get("continue") for seen in fake.seen] == [None, "old", None, "new"]


async def test_a_list_that_always_expires_ends_as_a_retry() -> None:
    """A server that can never finish a list does not catch us in a loop."""
    async with api(refuses(410, "Expired")) as fake:
        with pytest.raises(Retry, match="GET ConfigMap: 410 Expired"):
            await names(fake)
    assert len(fake.seen) == 4


# --- refusals


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refuses(400, "BadRequest"), GiveUp),
        (refuses(403, "Forbidden"), Forbidden),
        (refuses(404, "NotFound"), NotFound),
        (says(404, "404 page not found"), UnknownKind),
        (refuses(405, "MethodNotAllowed"), GiveUp),
        (refuses(409, "Conflict"), Conflict),
        (refuses(410, "Gone"), Retry),
        (refuses(415, "UnsupportedMediaType"), GiveUp),
        (refuses(422, "Invalid"), GiveUp),
        (refuses(429, "TooManyRequests"), Retry),
        (refuses(500, "InternalError", "etcd is away"), Retry),
        (refuses(500, "", "failed to create typed patch: .status.x: field not declared in schema"), GiveUp),
        (refuses(503, "ServiceUnavailable"), Retry),
        (refuses(504, "Timeout"), Retry),
        (says(302, "moved", Location="http://example.com/"), GiveUp),
        (says(502, "<html>bad gateway</html>"), Retry),
        (says(500, "[1]"), Retry),
        (says(422, {"details": "odd"}), GiveUp),
    ],
)
async def test_each_refusal_says_what_to_do(answer: Answer, error: type[Exception]) -> None:
    """Every status becomes exactly one of the port's errors and names the request, but never its body."""
    async with api(answer) as fake:
        with pytest.raises(error) as caught:
            await fake.cluster.apply(CONFIG_MAP, BODY, manager="m", subresource="status")
    assert type(caught.value) in {error, *error.__subclasses__()}
    assert isinstance(caught.value, Retry) != isinstance(caught.value, GiveUp)
    assert str(caught.value).startswith("PATCH ConfigMap team/greeting status: ")
    assert SECRET not in str(caught.value)


async def test_create_of_what_exists_is_none() -> None:
    """AlreadyExists is an answer, another 409 is a conflict."""
    async with api(refuses(409, "AlreadyExists"), refuses(409, "Conflict")) as fake:
        assert await fake.cluster.create(CONFIG_MAP, BODY) is None
        with pytest.raises(Conflict):
            await fake.cluster.create(CONFIG_MAP, BODY)


async def test_delete_of_what_is_gone_is_fine_and_of_another_uid_a_conflict() -> None:
    """A missing object needs no deletion; one that was re-created is not ours to delete."""
    async with api(refuses(404, "NotFound"), refuses(409, "Conflict")) as fake:
        await fake.cluster.delete(CONFIG_MAP, "team", "greeting", uid="u-1")
        with pytest.raises(Conflict):
            await fake.cluster.delete(CONFIG_MAP, "team", "greeting", uid="u-1")


async def test_a_patch_that_does_not_fit_is_a_conflict_and_an_invalid_result_is_not() -> None:
    """422 without causes: an operation failed, read again. 422 with causes: the result breaks the schema, give up."""
    invalid = refuses(422, "Invalid", details={"causes": [{"field": "data"}]})
    async with api(refuses(422, "Invalid"), invalid) as fake:
        for error in (Conflict, GiveUp):
            with pytest.raises(error):
                await fake.cluster.json_patch(CONFIG_MAP, "team", "greeting", [])


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        (says(429, {}, Retry_After="7"), 7.0),
        (says(503, {}, Retry_After="99999"), 120.0),
        (says(429, {"details": {"retryAfterSeconds": 3}}), 3.0),
        (says(429, {}, Retry_After="soon"), None),
        (says(429, {}), None),
    ],
)
async def test_retry_after_is_handed_on(answer: Answer, after: float | None) -> None:
    """The seconds that the server asks for reach the queue, up to two minutes."""
    async with api(answer) as fake:
        with pytest.raises(Retry) as caught:
            await fake.cluster.get(CONFIG_MAP, "team", "greeting")
    assert caught.value.after == after


async def test_a_rejected_token_is_renewed_once() -> None:
    """After a 401 the request is sent once more with a new token; a second 401 is for the back-off."""
    async with api(refuses(401, "Unauthorized"), says(200)) as fake:
        await fake.cluster.get(CONFIG_MAP, "team", "greeting")
    assert fake.tokens == [False, True]
    async with api(refuses(401, "Unauthorized")) as fake:
        with pytest.raises(Retry, match="401"):
            await fake.cluster.get(CONFIG_MAP, "team", "greeting")
    assert (len(fake.seen), fake.requests("get", "401")) == (2, 2)


# --- no answer, or half of one


async def hangs(_: web.Request) -> web.Response:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def hangs_up(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cuts(request: web.Request) -> web.StreamResponse:
    """Promise 100 bytes, send ten, close."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"kind": "')
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (hangs, "timeout", "no whole answer within 0.05 s"),
        (hangs_up, "connection", "Disconnected"),
        (cuts, "cut", "the answer was cut off"),
        (says(200, '{"kind": "Conf'), "200", "not JSON"),
        (says(200, "[]"), "200", "not an object"),
    ],
)
async def test_anything_but_a_whole_answer_is_unavailable(answer: Answer, code: str, text: str) -> None:
    """Whether the write happened is unknown: the caller must look again; the counter tells the kinds apart."""
    async with api(answer, seconds=0.05 if answer is hangs else 5) as fake:
        with pytest.raises(Unavailable, match=f"PATCH ConfigMap team/greeting: .*{text}") as caught:
            await fake.cluster.apply(CONFIG_MAP, BODY, manager="m")
    assert SECRET not in str(caught.value)
    assert fake.requests("apply", code) == 1


async def test_no_server_at_all_is_unavailable() -> None:
    """A refused connection is an error of the port, not of the transport."""
    async with api(says(200)) as fake:
        fake.cluster._access.server = "http://127.0.0.1:9"  # type: ignore[misc]
        with pytest.raises(Unavailable, match="GET ConfigMap team/greeting: ClientConnectorError"):
            await fake.cluster.get(CONFIG_MAP, "team", "greeting")
    assert fake.requests("get", "connection") == 1


async def test_use_outside_its_context_is_a_programming_error() -> None:
    """A client without a session says so instead of failing deep inside."""
    async with api(says(200)) as fake:
        await fake.cluster.aclose()
        with pytest.raises(RuntimeError, match="async with"):
            await fake.cluster.get(CONFIG_MAP, "team", "greeting")


# --- limits, clocks, messages


async def test_at_most_so_many_writes_are_in_flight_and_reads_do_not_wait_for_them() -> None:
    """Three writes against two places: two reach the server, a read passes, the third follows."""
    release, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def waits(request: web.Request) -> web.Response:
        if request.method == "PATCH":
            arrived.release()
            await release.wait()
        return web.json_response({})

    async with api(waits, writes=2) as fake:
        applies = [asyncio.create_task(fake.cluster.apply(CONFIG_MAP, BODY, manager="m")) for _ in range(3)]
        async with asyncio.timeout(5):
            await arrived.acquire()
            await arrived.acquire()
            await fake.cluster.get(CONFIG_MAP, "team", "greeting")
            assert [seen.method for seen in fake.seen] == ["PATCH", "PATCH", "GET"]
            release.set()
            await asyncio.gather(*applies)
    assert len(fake.seen) == 4


async def test_the_difference_to_the_servers_clock() -> None:
    """Positive when the server is ahead, to about a second; a header that is no date leaves the last value."""
    ahead = says(200, {}, Date="Sat, 21 Nov 2026 12:00:40 GMT")
    async with api(ahead, says(200, {}, Date="yesterday")) as fake:
        assert fake.cluster.server_skew is None
        for _ in range(2):
            await fake.cluster.get(CONFIG_MAP, "team", "greeting")
            assert fake.cluster.server_skew == 40.5


@pytest.mark.parametrize(
    "message",
    [
        f'spec.text: Invalid value: "{SECRET} \\"quoted\\" end": is immutable',
        f"expected map, got &{{{SECRET}}}",
        f'data: Duplicate value: "{SECRET}"',
        f'spec.messages[0]: Invalid value: {{"content": "{SECRET}"}}: must be short',
    ],
)
def test_values_that_the_server_quotes_are_left_out(message: str) -> None:
    """A refusal may quote the prompt's text; what is logged does not."""
    short = shorten(message)
    assert SECRET not in short
    assert "quoted" not in short
    assert "…" in short


def test_long_messages_become_one_short_line() -> None:
    """Line breaks go, the start stays, the immutability hint after a value stays too."""
    assert shorten("a\n  b") == "a b"
    assert len(shorten("x" * 5000)) == 301
    assert shorten('spec: Invalid value: "x": is immutable') == "spec: Invalid value: …: is immutable"
