"""Which versions of a prompt may be deleted, and why each other one stays. Only `kubectl prompt prune` deletes any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prompt_operator.api.experiment import Experiment
    from prompt_operator.api.prompt import Prompt
    from prompt_operator.api.promptrollback import PromptRollback
    from prompt_operator.api.promptversion import PromptVersion

DEFAULT_VERSIONS = 20
_TRACKED = ("argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "meta.helm.sh/")
"""Prefixes of labels and annotations by which Argo CD, Flux and Helm know their objects."""
_INSTANCE, _MANAGER = "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that may need a version of one prompt."""

    prompt: Prompt
    versions: Sequence[PromptVersion]
    """All of the namespace: fragments are included across prompts."""
    rollbacks: Sequence[PromptRollback] = ()
    experiments: Sequence[Experiment] = ()

    @property
    def own(self) -> list[PromptVersion]:
        """Return the prompt's versions, newest first."""
        mine = [each for each in self.versions if each.spec.prompt_ref.name == self.prompt.metadata.name]
        return sorted(mine, key=_age, reverse=True)


def kept(around: Surroundings) -> dict[str, str]:
    """Return why each version stays, by version, newest first; an empty reason is one that may go.

    A version that stays only because another one names it as its `rollback.reference` protects no third one: a chain of
    references would keep everything, and a second step back is a person's decision. Includes protect all the way.
    """
    used = dict(reversed([*_used(around)]))  # the first reason of several
    why: dict[str, str] = {}
    for number, version in enumerate(around.own):
        newest = f"one of the newest {_limit(around.prompt)}" if number < _limit(around.prompt) else ""
        why[version.spec.version] = used.get(version.spec.version) or tracked(version) or newest
    stay = {version for version, reason in why.items() if reason}
    for version in around.own:
        reference = version.spec.rollback.reference if version.spec.rollback else None
        if version.spec.version in stay and reference in why:
            why[reference] = why[reference] or f"rollback.reference of {version.spec.version}"
    return why


def _limit(prompt: Prompt) -> int:
    return prompt.spec.retention.versions if prompt.spec.retention else DEFAULT_VERSIONS


def _age(version: PromptVersion) -> tuple[str, object]:
    """Restored ones are all of the same second: then the version number decides."""
    return str(version.metadata.creation_timestamp), _precedence(version.spec.version)


def _precedence(version: str) -> tuple[object, ...]:
    """Return the order of semantic versions: https://semver.org, paragraph 11."""
    numbers, _, prerelease = version.partition("-")
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in prerelease.split(".") if part]
    return tuple(int(number) for number in numbers.split(".")), not prerelease, tuple(parts)


def tracked(version: PromptVersion) -> str:
    """Say who keeps this object, so that a deletion would be undone or missed; nothing when nobody does."""
    metadata = version.metadata
    marks = {**metadata.annotations, **metadata.labels}
    found = sorted(key for key in marks if key.startswith(_TRACKED) or key == _INSTANCE)
    if found or metadata.labels.get(_MANAGER) == "Helm":
        return f"kept by Git or Helm ({(found or [f'{_MANAGER}=Helm'])[0]}): remove it there"
    return ""


def _used(around: Surroundings) -> Iterator[tuple[str, str]]:
    """Yield versions that somebody needs, with why: the weightiest reason first."""
    prompt, status = around.prompt, around.prompt.status
    yield prompt.spec.version, "desired"
    yield status.active_version or "", "active"
    yield status.previous_version or "", "active before"
    yield from ((held.version, "held") for held in status.held)
    yield from _rolled_back(around)
    if status.rollout is not None:
        yield status.rollout.candidate, "being rolled out"
    if status.override is not None:
        yield status.override.version, "active"
        yield status.override.against, "rolled back from"
    yield from ((entry.version, "in history") for entry in status.history)
    yield from _tried(around)
    for version in around.versions:
        for include in version.spec.includes or ():
            if include.prompt_ref.name == prompt.metadata.name:
                yield include.version, f"included by {version.metadata.name}"


def _rolled_back(around: Surroundings) -> Iterator[tuple[str, str]]:
    """Yield what records hold, also where status was lost, and where a person asks to go."""
    for record in around.rollbacks:
        spec = record.spec
        if spec.prompt_ref.name != around.prompt.metadata.name:
            continue
        if spec.decision == "Executed" and spec.release is None:
            yield spec.from_version, "held"
        elif spec.decision is None and record.status.record is None:
            yield spec.to_version or "", f"asked for by {record.metadata.name}"


def _tried(around: Surroundings) -> Iterator[tuple[str, str]]:
    """Yield the versions of experiments, also of those that are over: they are what was compared."""
    for experiment in around.experiments:
        if experiment.spec.prompt_ref.name == around.prompt.metadata.name:
            versions = [arm.version for arm in experiment.spec.arms or ()]
            versions += [experiment.spec.shadow.version] if experiment.spec.shadow else []
            yield from ((version, f"in experiment {experiment.metadata.name}") for version in versions)
