"""Which version a rollback goes to: the contract's order of choice, and why others are not usable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from prompt_operator.core.versions import VersionRecord


@dataclass(frozen=True, slots=True)
class Choice:
    """The target, or why there is none."""

    version: str = ""
    rejected: tuple[str, ...] = ()
    """A sentence per candidate that cannot be used."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that was served before, with the hash it had then."""

    version: str
    known_hash: str = ""


def choose(
    reference: str,
    history: Iterable[Candidate],
    versions: Mapping[str, VersionRecord],
    held: Container[str],
    left: Container[str],
) -> Choice:
    """Return the newest usable candidate.

    Args:
        reference: the active version's own `rollback.reference`; tried first, empty without one.
        history: versions that were served before, newest first, without the active one.
        versions: all PromptVersions of the prompt by version.
        held: versions that must not become active.
        left: versions that some rollback left; never chosen from history, but a reference may name one.
    """
    history, rejected = tuple(history), dict[str, str]()
    known = {candidate.version: candidate.known_hash for candidate in history}
    for candidate in [Candidate(reference, known.get(reference, ""))] if reference else []:
        problem = unusable(candidate, versions, held)
        if not problem:
            return Choice(candidate.version)
        rejected[candidate.version] = problem
    for candidate in history:
        problem = unusable(candidate, versions, held)
        if not problem and candidate.version in left:
            problem = f"{candidate.version} was left by a rollback"
        if not problem:
            return Choice(candidate.version, tuple(rejected.values()))
        rejected.setdefault(candidate.version, problem)
    return Choice(rejected=tuple(rejected.values()))


def unusable(candidate: Candidate, versions: Mapping[str, VersionRecord], held: Container[str]) -> str:
    """Say in a few words why this version cannot be a target; empty when it can."""
    version = versions.get(candidate.version)
    if version is None or version.deleting:
        return f"{candidate.version} does not exist"
    if candidate.version in held:
        return f"{candidate.version} is held"
    if version.stage == "Deprecated":
        return f"{candidate.version} is Deprecated"
    problem = version.problem(candidate.known_hash)
    return f"{candidate.version}: {problem}" if problem else ""


def history_of(
    entries: Iterable[tuple[str, str]], versions: Iterable[VersionRecord], active: str
) -> tuple[Candidate, ...]:
    """Return the versions served before, newest first, without the active one.

    Where status was lost, the PromptVersions' own status still tells which were served, and when.
    """
    known = [Candidate(version, known_hash) for version, known_hash in entries]
    served = sorted((v for v in versions if v.activated_at), key=lambda v: v.activated_at, reverse=True)
    known += [Candidate(version.version, version.first_hash) for version in served]
    newest = {candidate.version: candidate for candidate in reversed(known)}
    order = dict.fromkeys(candidate.version for candidate in known)
    return tuple(newest[version] for version in order if version != active)
