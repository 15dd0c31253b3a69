"""kopf's part: keep the watches alive and hand every event on. No decision is made here, nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import kopf
from kopf._core.reactor.inventory import ResourceMemories  # public only as a type in the signature of spawn_tasks

from prompt_client import wire
from prompt_operator.ports import CONFIG_MAP, KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prompt_operator.adapters.credentials import Credentials
    from prompt_operator.ports import Kind, Manifest

CONFIG_MAP_LABELS = f"{wire.MANAGED_BY_LABEL}={wire.MANAGED_BY}"
WATCHED: tuple[tuple[Kind, str], ...] = tuple((kind, CONFIG_MAP_LABELS if kind == CONFIG_MAP else "") for kind in KINDS)
"""Every kind with the label selector of its watch: of ConfigMaps only our own cross the wire."""


def registry(credentials: Credentials, seen: Callable[[Kind, Manifest, bool], None]) -> kopf.OperatorRegistry:
    """Return kopf's registry: one raw event handler per kind, and our credentials.

    Args:
        credentials: the way to the API server.
        seen: called with the kind, the whole object, and whether it was deleted.
    """
    handlers = kopf.OperatorRegistry()
    kopf.on.startup(registry=handlers)(configure)
    kopf.on.login(registry=handlers)(_login(credentials))
    for kind, _ in WATCHED:
        group, _, version = kind.api_version.rpartition("/")
        kopf.on.event(group, version, kind.plural, registry=handlers, id=kind.plural)(_handler(kind, seen))
    return handlers


def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Set what was measured to keep start-up and memory small (docs/sizing.md).

    `worker_limit` needs a tiny `idle_timeout`: a worker's slot stays taken that long after its last event.
    """
    settings.scanning.disabled = True  # no rights on CRDs and namespaces
    settings.peering.standalone = True
    settings.posting.enabled = False  # adapters.events writes them, without floods
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 540
    settings.watching.reconnect_backoff = 1.0
    settings.watching.label_selectors["v1", CONFIG_MAP.plural] = CONFIG_MAP_LABELS
    settings.queueing.worker_limit = 50
    settings.queueing.idle_timeout = 0.01
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.persistence.diffbase_storage = Indifferent()
    settings.persistence.finalizer = "promptops.dev/unused"  # none is ever set; kopf removes a foreign one of its name
    settings.process.ultimate_exiting_timeout = 60


class Indifferent(kopf.DiffBaseStorage):
    """Compares no object with what it was: only handlers of changes ask for that, and the copies cost most of an event.

    kopf makes two copies of each object that it sees, to compare them, also where nobody asked for a difference.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing to compare."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Remember nothing."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""


class Forgetful(ResourceMemories):
    """Kopf's memory of each object, not kept: it is for handlers with a state, and takes about a kilobyte each."""

    async def recall(self, raw_body: Any, *, ephemeral: bool = True, **how: Any) -> Any:  # noqa: ARG002  kopf's shape
        """Return a new memory, which ends with the event it is for."""
        return await super().recall(raw_body, ephemeral=True, **how)


def _handler(kind: Kind, seen: Callable[[Kind, Manifest, bool], None]) -> Callable[..., Any]:
    async def handle(event: Any, **_: Any) -> None:
        manifest: Manifest = dict(event["object"])
        seen(kind, manifest, event["type"] == "DELETED")

    return handle


def _login(credentials: Credentials) -> Callable[..., Any]:
    """Give kopf a session that asks for the token anew with each request, as tokens are rotated."""

    async def login(**_: Any) -> kopf.AiohttpSession:
        async def authorize(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            token = await credentials.authorization(False)  # noqa: FBT003  the port's shape
            if token:
                request.headers["Authorization"] = token
            return await handler(request)

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True),
            proxy=credentials.proxy,
            middlewares=(authorize,),
        )
        return kopf.AiohttpSession(
            server=credentials.server, default_namespace=credentials.namespace, aiohttp_session=session
        )

    return login


def scope(namespaces: Iterable[str]) -> dict[str, Any]:
    """Return kopf's arguments for the namespaces to watch; none means the whole cluster."""
    chosen = tuple(namespaces)
    return {"namespaces": chosen} if chosen else {"clusterwide": True}
