"""Credentials from kubeconfigs and ServiceAccounts, and tokens that change."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from prompt_operator.adapters import credentials
from prompt_operator.adapters.credentials import FileToken, NoCredentials, load

CLUSTER_CA = Path(certifi.where())


def kubeconfig(path: Path, user: dict[str, Any], **cluster: Any) -> Path:
    """Write a kubeconfig with one context in namespace `team`."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """Make the folder that a pod's ServiceAccount is mounted at."""
    for name, text in (("token", "one\n"), ("namespace", "prompts\n"), ("ca.crt", CLUSTER_CA.read_text())):
        (tmp_path / name).write_text(text)
    return tmp_path


IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


async def test_a_kubeconfig_with_a_token(tmp_path: Path) -> None:
    """Server, namespace, TLS and token come from the current context."""
    path = kubeconfig(tmp_path / "config", {"token": "secret"}, **{"insecure-skip-tls-verify": True})
    access = load(environ={"KUBECONFIG": str(path)} | IN_CLUSTER)
    assert (access.server, access.namespace) == ("https://127.0.0.1:6443", "team")
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_NONE
    assert await access.authorization(False) == "Bearer secret"  # noqa: FBT003


async def test_plain_http_has_no_tls_and_no_token(tmp_path: Path) -> None:
    """`kubectl proxy` on loopback works."""
    access = load(str(kubeconfig(tmp_path / "config", {}, server="http://127.0.0.1:8001")), environ={})
    assert (access.server, access.tls) == ("http://127.0.0.1:8001", None)
    assert await access.authorization(False) == ""  # noqa: FBT003


async def test_a_service_account(mount: Path) -> None:
    """In a pod the mounted token, CA and namespace are used; the server's certificate is checked."""
    access = load(environ=IN_CLUSTER, mount=mount)
    assert (access.server, access.namespace) == ("https://10.0.0.1:443", "prompts")
    assert access.tls is not None
    assert (access.tls.verify_mode, access.tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not access.tls.verify_flags & ssl.VERIFY_X509_STRICT
    assert await access.authorization(False) == "Bearer one"  # noqa: FBT003


async def test_a_projected_token_is_read_again_when_it_changes(mount: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kubelet swaps the file: the next request carries the new token; a missing or empty file keeps the last."""
    token = FileToken(mount / "token")
    assert await token(False) == "Bearer one"  # noqa: FBT003
    (mount / "new").write_text("two")
    os.replace(mount / "new", mount / "token")  # noqa: PTH105  the swap itself
    assert await token(False) == "Bearer two"  # noqa: FBT003
    (mount / "token").unlink()
    assert await token(True) == "Bearer two"  # noqa: FBT003
    assert "the last one stays in use" in caplog.text
    (mount / "token").write_text("")
    assert await token(False) == "Bearer two"  # noqa: FBT003


async def test_an_exec_plugin_is_run_again_when_its_token_is_rejected_or_expires(tmp_path: Path) -> None:
    """The plugin runs at the start, and once for many requests that were rejected at the same time."""
    counter = tmp_path / "runs"
    plugin = tmp_path / "plugin.py"
    expired = {"expirationTimestamp": "2020-01-01T00:00:00Z"}
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": expired}
    plugin.write_text(
        "import json, pathlib\n"
        f"runs = pathlib.Path({str(counter)!r})\n"
        "number = len(runs.read_text()) if runs.exists() else 0\n"
        "runs.write_text('x' * (number + 1))\n"
        f"credential = json.loads({json.dumps(json.dumps(credential))})\n"
        "credential['status']['token'] = f'token-{number}'\n"
        "print(json.dumps(credential))\n"
    )
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(plugin)]}
    access = load(str(kubeconfig(tmp_path / "config", {"exec": run | {"interactiveMode": "Never"}})), environ={})
    first = await asyncio.gather(*(access.authorization(True) for _ in range(5)))  # noqa: FBT003
    later = await access.authorization(False)  # noqa: FBT003
    assert first == ["Bearer token-1"] * 5
    assert later == "Bearer token-1"
    assert counter.read_text() == "xx"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "no API server: set KUBECONFIG"),
        ({"KUBECONFIG": "nowhere"}, "there is no file nowhere"),
        (IN_CLUSTER, "cannot use the credentials in the default place"),
    ],
)
def test_no_credentials_is_an_error_that_says_what_to_do(
    environ: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing found, or something unreadable, names what was tried."""
    monkeypatch.setattr(credentials, "_HOME_KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(NoCredentials, match=message):
        load(environ=environ, mount=tmp_path)


def test_the_home_directory_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a pod and without KUBECONFIG the file in the home directory is used."""
    path = kubeconfig(tmp_path / "config", {"token": "home"})
    monkeypatch.setattr(credentials, "_HOME_KUBECONFIG", str(path))
    assert load(environ={}).namespace == "team"


def test_no_generated_api_class_is_loaded() -> None:
    """Importing the adapter leaves the client's thousand model and API modules alone."""
    code = (
        "import sys, prompt_operator.adapters.credentials\n"
        "print(sum(name.startswith(('kubernetes.client.api.', 'kubernetes.client.models.')) for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_with_path())
    assert int(done.stdout) == 0


def _with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
