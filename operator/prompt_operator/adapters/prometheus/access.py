"""Certificates and credentials of a source, from their files, read again when a file is another one.

Kubernetes replaces mounted Secrets and tokens while the operator runs. While a file cannot be used, what it held last
stays in use. No message ever holds what a file holds.
"""

from __future__ import annotations

import base64
import logging
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from prompt_operator.ports import Unavailable
from prompt_operator.sources import TENANT_HEADER, is_header_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import requests

    from prompt_operator.sources import Header, Source

_log = logging.getLogger(__name__)

_LEAST_SECRET = 4  # characters; what is shorter stands in messages by chance


class Unready(Unavailable):
    """A credential cannot be used yet: nothing was asked, so this says nothing about the server."""


class SecretFile:
    """The one value in a file, such as a token or a password.

    Args:
        setting: the setting that names the file, for messages.
        path: the file.
    """

    def __init__(self, setting: str, path: str) -> None:
        self._setting, self._path = setting, Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._value = self._complaint = ""

    def __call__(self) -> str:
        """Return the value, without the white space around it; Unready when the file never held one."""
        try:
            self._read()
        except OSError as error:
            self._complain(f"cannot be read: {error.strerror}")
        except ValueError as error:
            self._complain(str(error))
        return self._value

    def _read(self) -> None:
        seen = signature(self._path)
        if seen == self._seen:
            return
        value = self._path.read_bytes().decode("latin-1").strip()
        if not value:
            raise ValueError("is empty")
        if not is_header_value(value):
            raise ValueError("holds more than one line, or characters that no header may have")
        self._value, self._seen, self._complaint = value, seen, ""

    def _complain(self, problem: str) -> None:
        if not self._value:
            raise Unready(f"{self._setting} {self._path} {problem}") from None
        if problem != self._complaint:
            _log.warning("%s %s %s: the last value stays in use", self._setting, self._path, problem)
        self._complaint = problem


def signature(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is replaced or rewritten."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Credentials(AuthBase):
    """Puts token, password, tenant and further headers of a source into each request."""

    def __init__(self, source: Source) -> None:
        self._headers: dict[str, Callable[[], str]] = {each.name: _value_of(each) for each in source.headers}
        if source.tenant:
            self._headers[TENANT_HEADER] = lambda: source.tenant
        if source.bearer_token_file:
            token = SecretFile("bearerTokenFile", source.bearer_token_file)
            self._headers["Authorization"] = lambda: f"Bearer {token()}"
        if source.username:
            password = SecretFile("passwordFile", source.password_file)
            self._headers["Authorization"] = lambda: _basic(source.username, password())

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the headers; Unready when a file cannot be used."""
        request.headers.update(self._values())
        return request

    def conceal(self, text: str) -> str:
        """Return text that a server sent, without our credentials, should it have repeated them."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return text

    def _values(self) -> dict[str, str]:
        return {name: value() for name, value in self._headers.items()}

    def _secrets(self) -> Iterable[str]:
        """Return what must not be repeated: each value, and of `Bearer token` the token alone."""
        values = [value for name, value in self._values().items() if name != TENANT_HEADER]
        parts = {part for value in values for part in (value, value.rpartition(" ")[2])}
        return sorted((part for part in parts if len(part) >= _LEAST_SECRET), key=len, reverse=True)


def _value_of(header: Header) -> Callable[[], str]:
    if header.value is not None:
        return header.value.get_secret_value
    return SecretFile(f"valueFile of header {header.name}", header.value_file)


def _basic(username: str, password: str) -> str:
    """Return the header; the password is bytes of the file, read as Latin-1."""
    return f"Basic {base64.b64encode(username.encode() + b':' + password.encode('latin-1')).decode()}"


class Tls:
    """The TLS context of a source; another one whenever one of its files is another one. For use from any thread."""

    def __init__(self, source: Source) -> None:
        self._source = source
        named = (("caFile", source.ca_file), ("certFile", source.cert_file), ("keyFile", source.key_file))
        self._files = {setting: Path(path) for setting, path in named if path}
        self._seen: dict[str, tuple[int, int, int]] | None = None
        self._context: ssl.SSLContext | None = None
        self._complaint = ""
        self._lock = threading.Lock()

    def context(self) -> ssl.SSLContext | None:
        """Return the context for new connections; None for plain HTTP.

        Raises:
            Unready: the files could never be used.
        """
        if not self._source.url.startswith("https:"):
            return None
        with self._lock:
            try:
                self._read()
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                self._complain(error)
            return self._context

    def _read(self) -> None:
        seen = {setting: signature(path) for setting, path in self._files.items()}
        if seen != self._seen:
            self._context, self._seen, self._complaint = self._build(), seen, ""

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._source.ca_file or None)
        # A default of Python 3.13 that many clusters' own authorities do not satisfy; Go does not ask for it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self._source.cert_file:  # an empty password, since OpenSSL would ask for one at the terminal
            context.load_cert_chain(self._source.cert_file, self._source.key_file, password="")
        return context

    def _complain(self, error: Exception) -> None:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        files = ", ".join(f"{setting} {path}" for setting, path in self._files.items())
        problem = f"the certificates cannot be used ({reason}): {files}"
        if self._context is None:
            raise Unready(problem) from error
        if problem != self._complaint:
            _log.warning("%s; the last ones stay in use", problem)
        self._complaint = problem


class Transport(HTTPAdapter):
    """Connections with our own TLS context, which trusts the source's authorities and no others; nothing is retried.

    Args:
        context: the TLS context, None for plain HTTP.
        server_name: the name the server's certificate must have; empty: the host of the address.
    """

    def __init__(self, context: ssl.SSLContext | None, server_name: str) -> None:
        self._tls: dict[str, Any] = {} if context is None else {"ssl_context": context}
        if server_name:
            self._tls |= {"server_hostname": server_name, "assert_hostname": server_name}
        super().__init__(max_retries=Retry(total=0, read=False))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002  the base class's
        """Make direct connections with our context."""
        super().init_poolmanager(connections, maxsize, block, **kwargs, **self._tls)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make connections through a proxy with our context."""
        return super().proxy_manager_for(proxy, **kwargs, **self._tls)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context as it is: requests would add the public authorities to its own."""
