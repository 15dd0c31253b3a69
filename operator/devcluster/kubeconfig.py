"""Kubeconfig files and the credentials the control plane is started with."""

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ADMIN = "admin"
# Users every control plane knows besides the administrator: they may do nothing until a test grants it.
PLAIN_USERS: Mapping[str, Sequence[str]] = {"alice": ("developers",), "bob": ("developers",)}

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class User:
    """One line of the API server's token file."""

    name: str
    token: str
    groups: tuple[str, ...]

    @property
    def line(self) -> str:
        """The user as the token file wants it: token, name, uid, groups."""
        return f'{self.token},{self.name},{self.name},"{",".join(self.groups)}"'


def users(extra: Mapping[str, Sequence[str]]) -> dict[str, User]:
    """The administrator, the plain users and `extra` (name -> groups), each with a fresh token."""
    groups = {ADMIN: ("system:masters",), **PLAIN_USERS, **extra}
    return {name: User(name, secrets.token_hex(16), tuple(of)) for name, of in groups.items()}


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(0o600)
    part.write_text(text, "utf-8")
    return part.replace(path)


def write_kubeconfig(path: Path, *, url: str, ca_file: Path, token: str, user: str = ADMIN) -> Path:
    """Write a kubeconfig with one context; JSON, which every YAML reader takes."""
    ca = base64.b64encode(ca_file.read_bytes()).decode()
    name = "devcluster"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": ca}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": "default"}}],
        "current-context": name,
    }
    return write_private(path, json.dumps(config, indent=2) + "\n")


def signing_key() -> str:
    """A fresh P-256 private key in PEM for service account tokens (SEC 1; readers derive the public half)."""
    scalar = (secrets.randbelow(_P256_ORDER - 1) + 1).to_bytes(32, "big")
    prime256v1 = bytes.fromhex("a00a06082a8648ce3d030107")
    body = b"\x02\x01\x01" + b"\x04\x20" + scalar + prime256v1
    der = b"\x30" + bytes([len(body)]) + body
    return f"-----BEGIN EC PRIVATE KEY-----\n{base64.encodebytes(der).decode()}-----END EC PRIVATE KEY-----\n"
