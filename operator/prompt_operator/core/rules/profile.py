"""Profiles: under which names a fleet of applications exports the quantities, as data."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prompt_operator.core.rules.metrics import Quantity

Name = Annotated[str, Field(min_length=1, max_length=256)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Matcher(_Data):
    """One label matcher: exactly one of `is`, `is_not` and `matches` (an RE2 expression over the whole value)."""

    label: Name
    is_: str | None = Field(default=None, alias="is")
    is_not: str | None = None
    matches: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.is_, self.is_not, self.matches)) != 1:
            raise ValueError("give exactly one of is, is_not, matches")
        return self


class Source(_Data):
    """Where one quantity comes from: a counter, or a classic histogram by its base name.

    `scale` turns the exported unit into ours (0.001 for milliseconds). `absent: zero` says that without a matching
    series nothing of the kind happened, provided that the requests are there.
    """

    counter: Name | None = None
    histogram: Name | None = None
    where: tuple[Matcher, ...] = ()
    scale: float = Field(default=1.0, gt=0)
    absent: Literal["unknown", "zero"] = "unknown"

    @property
    def metric(self) -> str:
        """The name of the series that is read."""
        return self.counter or f"{self.histogram}_bucket"

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.counter is None) == (self.histogram is None):
            raise ValueError("give exactly one of counter, histogram")
        return self


class IdentityLabels(_Data):
    """The labels that name namespace, prompt and version."""

    namespace: Name
    prompt: Name
    version: Name


class Profile(_Data):
    """One convention of metric names. Quantities that it lacks are not measured."""

    name: Name
    description: str
    verified: str
    identity: IdentityLabels
    quantities: dict[Quantity, Source]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for quantity, source in self.quantities.items():
            if (source.histogram is not None) != (quantity is Quantity.LATENCY_BUCKETS):
                raise ValueError(f"{quantity}: latency_buckets is a histogram, everything else a counter")
        self._check_absent()
        return self

    def _check_absent(self) -> None:
        """An absent series may stand for zero only as a part of a family that is there."""
        requests = self.quantities.get(Quantity.REQUESTS)
        for quantity, source in self.quantities.items():
            part = quantity is Quantity.ERRORS and requests is not None and source.counter == requests.counter
            if source.absent == "zero" and not part:
                raise ValueError(f"{quantity}: absent zero is for errors that are counted by the counter of requests")


def parse_profile(text: str) -> Profile:
    """Read a profile from YAML; ValueError says what is wrong with it."""
    try:
        return Profile.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"the profile is not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"the profile is not valid: {faults}") from error
