"""The public face of prompt_client: its names, and that importing it is cheap."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import prompt_client
import prompt_client.testing
from devcluster import atomicwriter
from prompt_client import Client, Prompt
from prompt_operator.core import projection

OPERATOR = Path(prompt_client.__file__).parents[1]

HEAVY = """
import json, sys
before = set(sys.modules)
import prompt_client, prompt_client.testing, prompt_client.wire
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(loaded - sys.stdlib_module_names - {"prompt_client"})))
print(json.dumps(sorted({"asyncio", "ctypes", "decimal", "email", "http.client", "ssl"} & set(sys.modules))))
"""


def test_importing_the_client_loads_the_standard_library_only() -> None:
    """In a fresh process nothing but itself and light parts of the standard library is loaded."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(OPERATOR)!r})\n{HEAVY}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    foreign, heavy = map(json.loads, done.stdout.splitlines())
    assert foreign == []
    assert heavy == []


def test_the_public_names_are_those_of_all() -> None:
    """What can be had from the package is what `__all__` says, modules aside."""
    found = {
        name
        for name, value in vars(prompt_client).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and name not in {"annotations", "Any", "TYPE_CHECKING"}
    }
    assert found == set(prompt_client.__all__)
    assert list(prompt_client.__all__) == sorted(prompt_client.__all__)


def test_the_names_of_the_contract_are_there() -> None:
    """What the contract promises to applications exists under its name."""
    promised = {"text", "messages", "version", "hash", "arm", "is_fallback", "age", "revision", "render", "observe"}
    assert promised <= {name for name in dir(Prompt) if not name.startswith("_")}
    assert {"folder_root", "fallbacks", "reload", "registry"} <= set(inspect.signature(Client).parameters)
    assert callable(prompt_client.testing.fixed)


SPECS: list[dict[str, Any]] = [
    {"text": "Grüße {{ name }} 😀"},
    {
        "messages": [{"role": "System", "content": "Be brief."}, {"role": "History", "content": ""}],
        "engine": "Plain",
        "variables": [{"name": "a", "required": False}],
        "model": {"name": "gpt", "maxTokens": 400, "stop": []},
        "outputSchema": "{}",
    },
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("mode", ["Active", "Fallback"])
def test_the_client_serves_what_the_operator_renders(tmp_path: Path, spec: dict[str, Any], mode: str) -> None:
    """Both ends of the wire agree: a rendered ConfigMap, published as kubelet does, is verified and served."""
    entry = projection.entry_of(spec)
    owner = projection.Owner("prod", "greeting", "uid")
    rendered = projection.render(owner, "prompt-greeting", projection.Served("1.0.0", entry["hash"], mode, 3), entry)
    atomicwriter.publish(tmp_path / "greeting", {key: value.encode() for key, value in rendered["data"].items()})
    with Client(tmp_path, reload="off", fallbacks={"greeting": "Built in."}, registry=CollectorRegistry()) as client:
        prompt = client.get("greeting")
    assert (prompt.namespace, prompt.revision, prompt.is_fallback) == ("prod", 3, mode == "Fallback")
    if mode == "Active":
        assert (prompt.version, prompt.hash, prompt.text) == ("1.0.0", entry["hash"], spec.get("text"))


def test_every_public_thing_is_described() -> None:
    """Each public name, and each public method of a public class, has a docstring."""
    for name in prompt_client.__all__:
        thing = getattr(prompt_client, name)
        members = vars(thing).items() if inspect.isclass(thing) else ()
        methods = [value for key, value in members if not key.startswith("_") and callable(value)]
        assert all(each.__doc__ for each in (thing, *methods)), name
