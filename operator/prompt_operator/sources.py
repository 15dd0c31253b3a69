"""The settings of one metric source: where it is, and with which certificates and credentials it is asked.

Credentials are named by their files and read where they are used; no value of them is kept here.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.alias_generators import to_camel

from prompt_operator.core import duration

TENANT_HEADER = "X-Scope-OrgID"
"""By which Mimir, Cortex and Loki tell tenants apart."""
_HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]+")
_OURS = frozenset({"content-type", "content-length", "host", "connection", "transfer-encoding", "accept-encoding"})


def is_header_value(text: str) -> bool:
    """Say whether HTTP can carry the text in a header: no line breaks, no other control characters, Latin-1."""
    return _HEADER_VALUE.fullmatch(text) is not None


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration such as 15s or 1m")  # noqa: TRY004  pydantic wants ValueError
    return duration.parse(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""`15s`, `1m`: as everywhere in the API."""


class _Block(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True
    )


class Header(_Block):
    """One header sent with every query."""

    name: str = Field(pattern=_HEADER_NAME, description="Name of the header.")
    value: SecretStr | None = Field(None, description="Its value, where that is no secret.")
    value_file: str = Field("", description="File that holds its value.")

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if (self.value is None) == (not self.value_file):
            raise ValueError(f"header {self.name} needs either value or valueFile")
        if self.value is not None and not is_header_value(self.value.get_secret_value()):
            raise ValueError(f"the value of header {self.name} is empty or has characters that no header may have")
        if self.name.lower() in _OURS:
            raise ValueError(f"header {self.name} is set by the operator itself")
        return self


class Source(_Block):
    """One server that answers PromQL queries as Prometheus does."""

    name: str = Field(
        max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="What `metrics.source` calls it."
    )
    url: str = Field(description="Base address; a path prefix is kept, as `/prometheus` of Mimir.")
    ca_file: str = Field("", description="Certificates of the authorities to trust, PEM; empty: the machine's.")
    cert_file: str = Field("", description="Certificate that the operator shows, PEM; with keyFile.")
    key_file: str = Field("", description="Private key of that certificate, PEM, not encrypted.")
    server_name: str = Field("", description="Name the server's certificate must have; empty: the host in url.")
    bearer_token_file: str = Field("", description="File that holds the bearer token.")
    username: str = Field("", description="User of basic authentication; with passwordFile.")
    password_file: str = Field("", description="File that holds the password of basic authentication.")
    headers: tuple[Header, ...] = Field((), max_length=20, description="Further headers: name with value or valueFile.")
    tenant: str = Field("", description=f"Tenant of Mimir or Cortex, sent as {TENANT_HEADER}.")
    query_lag: Duration = Field(
        timedelta(),
        ge=timedelta(),
        le=timedelta(minutes=10),
        description="How far behind the present its newest samples may be; queries ask for that instant.",
    )
    timeout: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=2),
        description="How long one query may take; the server is told the same.",
    )

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        return checked_url(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problem := next(filter(None, (*self._unpaired(), *self._ambiguous())), ""):
            raise ValueError(f"source {self.name}: {problem}")
        return self

    def _unpaired(self) -> tuple[str, ...]:
        tls = self.ca_file or self.cert_file or self.server_name
        return (
            "certFile and keyFile belong together" if bool(self.cert_file) != bool(self.key_file) else "",
            "username and passwordFile belong together" if bool(self.username) != bool(self.password_file) else "",
            "caFile, certFile and serverName need an https:// address" if tls and self.url.startswith("http:") else "",
            "username has a colon" if ":" in self.username else "",
            "tenant has characters that no header may have" if self.tenant and not is_header_value(self.tenant) else "",
        )

    def _ambiguous(self) -> tuple[str, ...]:
        names = [header.name.lower() for header in self.headers]
        authorized = [bool(self.bearer_token_file), bool(self.username), "authorization" in names]
        return (
            "bearerTokenFile, username and a header Authorization exclude each other" if sum(authorized) > 1 else "",
            f"tenant and a header {TENANT_HEADER} exclude each other"
            if self.tenant and TENANT_HEADER.lower() in names
            else "",
            "a header is given twice" if len(set(names)) < len(names) else "",
        )


def checked_url(value: str) -> str:
    """Return an address without a slash at its end.

    Raises:
        ValueError: not http(s), no host, or a password, query or fragment in it (then without repeating it).
    """
    parts = urlsplit(value)
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong into the address: use username and passwordFile")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{value!r} does not begin with http:// or https:// and a host")
    if parts.query or parts.fragment:
        raise ValueError("the address has a query or a fragment: give the part before it")
    return value.rstrip("/")
