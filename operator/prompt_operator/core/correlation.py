"""Many prompts that fail at once share a cause, and rolling each of them back would not help.

The prompts of one namespace, one provider or one model are counted together. A prompt whose version was switched within
the last hour is not counted: versions that were just released together may be bad together, each by itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from prompt_operator.core.versions import VersionRecord

FEWEST = 5
"""Of fewer comparable prompts nothing is concluded."""
JUST_SWITCHED = timedelta(hours=1)


KINDS = ("namespace", "provider", "model")


class Factor(NamedTuple):
    """What prompts have in common."""

    kind: str
    """One of KINDS."""
    value: str

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class Tally(NamedTuple):
    """Of the comparable prompts that share a factor, how many breach."""

    breaching: int
    comparable: int

    @property
    def share(self) -> float:
        """Part of them that breaches, 0 to 1."""
        return self.breaching / self.comparable


@dataclass(frozen=True, slots=True)
class Witness:
    """What the newest look at the rollback rules of one prompt says."""

    factors: tuple[Factor, ...]
    activated_at: datetime | None
    known: bool
    """At least one of the rules had enough samples to be true or false."""
    breaches: bool
    """The condition of at least one of them is true."""


@dataclass(frozen=True, slots=True)
class CommonCause:
    """The factor that most of the failing prompts share."""

    factor: Factor
    tally: Tally

    def __str__(self) -> str:
        return f"{self.tally.breaching} of {self.tally.comparable} prompts of {self.factor} breach at once"


def factors_of(namespace: str, version: VersionRecord | None) -> tuple[Factor, ...]:
    """Return what the prompt that serves this version may have in common with others, the most telling last."""
    found = [Factor("namespace", namespace)]
    if version is not None and version.provider:
        found.append(Factor("provider", version.provider))
    if version is not None and version.model:
        found.append(Factor("model", f"{version.provider}/{version.model}" if version.provider else version.model))
    return tuple(found)


def tallies_of(witnesses: Iterable[Witness], now: datetime) -> dict[Factor, Tally]:
    """Count, for each factor, the comparable prompts and those of them that breach."""
    comparable: Counter[Factor] = Counter()
    breaching: Counter[Factor] = Counter()
    for witness in witnesses:
        if witness.known and not _just_switched(witness, now):
            comparable.update(witness.factors)
            breaching.update(witness.factors if witness.breaches else ())
    return {factor: Tally(breaching[factor], count) for factor, count in comparable.items()}


def _just_switched(witness: Witness, now: datetime) -> bool:
    return witness.activated_at is not None and now - witness.activated_at < JUST_SWITCHED


def common_cause(
    tallies: Mapping[Factor, Tally], factors: Iterable[Factor], *, share: float, at_least: int
) -> CommonCause | None:
    """Return the factor with the largest part of failing prompts, or None where no factor reaches both limits.

    Args:
        tallies: counts by factor.
        factors: those of the prompt in question, the most telling last; of equal parts the last one is named.
        share: part of the comparable prompts that must breach, 0 to 1.
        at_least: number of them that must breach.
    """
    found = [CommonCause(factor, tallies[factor]) for factor in factors if factor in tallies]
    telling = [
        each
        for each in reversed(found)
        if each.tally.comparable >= FEWEST and each.tally.breaching >= at_least and each.tally.share >= share
    ]
    return max(telling, key=lambda each: each.tally.share, default=None)
