"""How to reach the API server and who we are there: kubeconfig or the pod's ServiceAccount.

The `kubernetes` package reads the files (it knows exec plugins, OIDC and merged kubeconfigs); only its configuration
loader is imported, no generated API class.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import yaml
from kubernetes.client.configuration import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import SERVICE_TOKEN_FILENAME, InClusterConfigLoader
from kubernetes.config.kube_config import KubeConfigMerger, load_kube_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_HOME_KUBECONFIG = "~/.kube/config"
_REFRESH_EVERY = 30.0  # seconds; the loader renews what expires within the next five minutes
_UNUSABLE = (ConfigException, yaml.YAMLError, OSError, TypeError, AttributeError, LookupError, ValueError)
"""What reading a broken file raises; the loader does not look at its form first."""
_log = logging.getLogger(__name__)


class NoCredentials(Exception):  # noqa: N818  says what is missing
    """There is no usable way to the API server; the message says what was tried and what to do."""


@dataclass(frozen=True)
class Credentials:
    """The way to one API server.

    `authorization` returns the value of the Authorization header ("" for none, as with a client certificate). Called
    with True, after a 401, it renews the token first.
    """

    server: str
    tls: ssl.SSLContext | None
    authorization: Callable[[bool], Awaitable[str]]
    server_hostname: str | None = None
    proxy: str | None = None
    namespace: str = "default"
    configuration: Any = None
    """The same for the `kubernetes` package's own client."""
    in_pod: bool = False


def load(
    kubeconfig: str = "",
    *,
    context: str = "",
    environ: Mapping[str, str] | None = None,
    mount: Path = Path(SERVICE_TOKEN_FILENAME).parent,
) -> Credentials:
    """Find credentials: the given kubeconfig, `KUBECONFIG`, the pod's ServiceAccount, the home directory's kubeconfig.

    Args:
        kubeconfig: path of a kubeconfig file; wins over everything else.
        context: context of the kubeconfig; empty is its current one.
        environ: the environment; None is the process's own.
        mount: where the ServiceAccount's token, CA and namespace are mounted.

    Raises:
        NoCredentials: nothing was found, or what was found cannot be read.
    """
    environ = os.environ if environ is None else environ
    path = kubeconfig or environ.get("KUBECONFIG", "")
    home = Path(_HOME_KUBECONFIG).expanduser()
    try:
        if path:
            return _from_kubeconfig(path, context)
        if environ.get("KUBERNETES_SERVICE_HOST"):
            return _from_service_account(mount, environ)
        if home.exists():
            return _from_kubeconfig(str(home), context)
    except _UNUSABLE as error:
        told = " ".join(str(error).split())
        raise NoCredentials(f"cannot use the credentials in {path or 'the default place'}: {told}") from error
    raise NoCredentials(
        f"no API server: set KUBECONFIG, write {_HOME_KUBECONFIG}, or run in a pod with a ServiceAccount"
    )


def _from_service_account(mount: Path, environ: Mapping[str, str]) -> Credentials:
    config = Configuration()
    in_cluster: Any = InClusterConfigLoader  # the package has no types for it
    token, ca = str(mount / "token"), str(mount / "ca.crt")
    in_cluster(token, ca, environ=environ).load_and_set(config)
    namespace = mount / "namespace"
    return Credentials(
        server=config.host,
        tls=_tls(config),
        authorization=FileToken(mount / "token"),
        proxy=_proxy(config),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        configuration=config,
        in_pod=True,
    )


def _from_kubeconfig(path: str, context: str) -> Credentials:
    config, namespace = Configuration(), _namespace_of(path, context)
    load_kube_config(path, context or None, config, persist_config=False)  # type: ignore[no-untyped-call]
    return Credentials(
        server=config.host.rstrip("/"),
        tls=_tls(config) if config.host.startswith("https:") else None,
        authorization=LoadedToken(config),
        server_hostname=config.tls_server_name,
        proxy=_proxy(config),
        namespace=namespace,
        configuration=config,
    )


def _namespace_of(path: str, context: str) -> str:
    """Return the namespace of a context; NoCredentials where there is no file, or no such context in it."""
    merged: Any = KubeConfigMerger(path).config  # type: ignore[no-untyped-call]
    if merged is None:
        raise NoCredentials(f"there is no file {path}")
    contexts = {each["name"]: each for each in merged.value["contexts"]}
    name = context or merged.safe_get("current-context")
    if name not in contexts:
        missing = f"there is no context {name}" if name else "there is no current context"
        raise NoCredentials(f"{missing} in {path}, only {', '.join(contexts) or 'an empty list'}")
    return contexts[name]["context"].safe_get("namespace") or "default"


def _tls(config: Any) -> ssl.SSLContext:
    """Build the TLS context that the configuration describes."""
    context = ssl.create_default_context(cafile=config.ssl_ca_cert)
    # Python 3.13 made this flag a default; many clusters' own CAs lack the extension it asks for, and Go accepts them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not config.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.cert_file:
        context.load_cert_chain(config.cert_file, config.key_file)
    return context


def _proxy(config: Any) -> str | None:
    """Return the kubeconfig's proxy or the environment's, unless `no_proxy` names the server."""
    host = urlsplit(config.host).hostname or ""
    return None if not config.proxy or proxy_bypass(host) else str(config.proxy)


class FileToken:
    """The token in a file that kubelet replaces before it expires; read again when the file is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._value = ""

    async def __call__(self, rejected: bool) -> str:  # noqa: FBT001  the port's shape
        """Return `Bearer <token>`; while the file cannot be read, the last token."""
        try:
            self._read(again=rejected)
        except OSError as error:
            _log.warning("the ServiceAccount token cannot be read, the last one stays in use: %s", error)
        return self._value

    def _read(self, *, again: bool) -> None:
        stat = self._path.stat()
        seen = (stat.st_ino, stat.st_mtime_ns)
        if seen == self._seen and not again:
            return
        if token := self._path.read_text().strip():
            self._value, self._seen = f"Bearer {token}", seen


class LoadedToken:
    """The token a kubeconfig gives: fixed, or from an exec plugin or identity provider, renewed before it expires.

    Renewal may run a program or a request, so it happens in a thread, at most twice a minute, one at a time.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self._value: str = config.api_key.get("BearerToken") or ""
        self._renewed = float("-inf")
        self._lock = asyncio.Lock()

    async def __call__(self, rejected: bool) -> str:  # noqa: FBT001  the port's shape
        """Return the header's value, renewed when that is due or the server rejected it."""
        now = asyncio.get_running_loop().time()
        if self._config.refresh_api_key_hook is None or (now - self._renewed < _REFRESH_EVERY and not rejected):
            return self._value
        async with self._lock:
            if self._renewed <= now:  # nobody did it while we waited for the lock
                await asyncio.to_thread(self._renew)
                self._renewed = asyncio.get_running_loop().time()
        return self._value

    def _renew(self) -> None:
        try:
            self._value = self._config.get_api_key_with_prefix("BearerToken") or ""
        except Exception as error:  # noqa: BLE001  a plugin may fail in any way; the old token may still be good
            _log.warning("the API token cannot be renewed, the last one stays in use: %r", error)
