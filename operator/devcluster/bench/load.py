"""Many prompts and versions, as plain as the smallest sample, spread over ten namespaces."""

from collections.abc import Iterable, Iterator

from devcluster.bench.api import GROUP, Api
from devcluster.watch import Json

_API_VERSION = "promptops.dev/v1alpha1"
SPREAD = 10
_TEXT = (
    "You are a helpful assistant of team {team}. Answer {{{{ question }}}} in at most {words} words.\n"
    + "Be exact. " * 40
)


def namespaces() -> list[str]:
    """Return the names of the namespaces."""
    return [f"bench-{number}" for number in range(SPREAD)]


def fill(api: Api, prompts: int, versions: int) -> None:
    """Create the namespaces' content: first all versions, then the prompts that ask for their first."""
    api.create_all(_versions(prompts, versions))
    api.create_all(_prompts(prompts))


def make_namespace(api: Api, name: str) -> None:
    """Create a namespace."""
    api.create("api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def version(namespace: str, prompt: str, number: int) -> tuple[str, Json]:
    """Return collection and manifest of version 1.<number>.0."""
    name = f"1.{number}.0"
    spec = {"promptRef": {"name": prompt}, "version": name, "text": _TEXT.format(team=prompt, words=20 + number)}
    metadata = {"name": f"{prompt}-{name}", "namespace": namespace}
    manifest = {"apiVersion": _API_VERSION, "kind": "PromptVersion", "metadata": metadata, "spec": spec}
    return f"{GROUP}/namespaces/{namespace}/promptversions", manifest


def prompt(namespace: str, name: str, number: int = 0) -> Json:
    """Return the manifest of a prompt that asks for version 1.<number>.0."""
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": _API_VERSION,
        "kind": "Prompt",
        "metadata": metadata,
        "spec": {"version": f"1.{number}.0"},
    }


def changes(prompts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Json]]:
    """Yield path and manifest of each prompt (namespace, name), asking for version 1.1.0."""
    for namespace, name in prompts:
        yield f"{GROUP}/namespaces/{namespace}/prompts/{name}", prompt(namespace, name, 1)


def request(namespace: str, prompt: str, number: int) -> tuple[str, Json]:
    """Return collection and manifest of a request to leave version 1.<number>.0."""
    spec = {
        "promptRef": {"name": prompt},
        "fromVersion": f"1.{number}.0",
        "reason": "to measure it",
        "requestedBy": "admin",
    }
    metadata = {"name": f"{prompt}-{number}", "namespace": namespace}
    manifest = {"apiVersion": _API_VERSION, "kind": "PromptRollback", "metadata": metadata, "spec": spec}
    return f"{GROUP}/namespaces/{namespace}/promptrollbacks", manifest


def _versions(prompts: int, versions: int) -> Iterator[tuple[str, Json]]:
    for number in range(versions):
        which = number % prompts
        yield version(*_place(which), number // prompts)


def _prompts(prompts: int) -> Iterator[tuple[str, Json]]:
    for which in range(prompts):
        namespace, name = _place(which)
        yield f"{GROUP}/namespaces/{namespace}/prompts", prompt(namespace, name)


def _place(which: int) -> tuple[str, str]:
    return namespaces()[which % SPREAD], f"prompt-{which}"
