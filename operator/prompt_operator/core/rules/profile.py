"""Profiles: under which names a fleet of applications exports the quantities, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.strictyaml import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

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
    """Where one quantity comes from: a counter, several that are added up, or a classic histogram by its base name.

    `scale` turns the exported unit into ours (0.001 for milliseconds). `absent: zero` says that without a matching
    series nothing of the kind happened, provided that the requests are there. `buckets` are the upper bounds that the
    exporter has by default, in its unit and without +Inf; it may be configured otherwise, so nothing is judged by them.
    """

    counter: Name | None = None
    counters: Annotated[tuple[Name, ...], Field(min_length=2)] | None = None
    histogram: Name | None = None
    where: tuple[Matcher, ...] = ()
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    absent: Literal["unknown", "zero"] = "unknown"
    buckets: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the series that are read; more than one are added up."""
        if self.histogram is not None:
            return (f"{self.histogram}_bucket",)
        return self.counters or (self.counter or "",)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.counter, self.counters, self.histogram)) != 1:
            raise ValueError("give exactly one of counter, counters, histogram")
        if self.buckets and self.histogram is None:
            raise ValueError("buckets are those of a histogram")
        if list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError("buckets must ascend")
        return self


class IdentityLabels(_Data):
    """The labels that name namespace, prompt and version."""

    namespace: Name
    prompt: Name
    version: Name

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len({self.namespace, self.prompt, self.version, "le", "__name__"}) < 5:  # noqa: PLR2004  all of these
            raise ValueError("namespace, prompt and version are three labels, none of them le or __name__")
        return self


class Profile(_Data):
    """One convention of metric names. Quantities that it lacks are not measured."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=63)]
    description: str = ""
    verified: str = "not verified"
    identity: IdentityLabels
    quantities: Annotated[dict[Quantity, Source], Field(min_length=1)]

    @property
    def latency_bounds(self) -> tuple[float, ...]:
        """The default bucket bounds of the latency, in seconds; empty where they are not known."""
        source = self.quantities.get(Quantity.LATENCY_BUCKETS)
        return () if source is None else tuple(round(bound * source.scale, 9) for bound in source.buckets)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for quantity, source in self.quantities.items():
            if (source.histogram is not None) != (quantity is Quantity.LATENCY_BUCKETS):
                raise ValueError(f"{quantity}: latency_buckets is a histogram, everything else a counter")
        self._check_absent()
        return self

    def _check_absent(self) -> None:
        """An absent series may stand for zero only as a part of what is counted as requests."""
        requests = self.quantities.get(Quantity.REQUESTS)
        for quantity, source in self.quantities.items():
            part = quantity is Quantity.ERRORS and requests is not None and {*source.metrics} <= {*requests.metrics}
            if source.absent == "zero" and not part:
                raise ValueError(f"{quantity}: absent zero is for errors that are counted by a counter of requests")


def parse_profile(text: str, known: Mapping[str, Profile] | None = None) -> Profile:
    """Read a profile from YAML; ValueError says what is wrong with it, and in which field.

    `extends` names a known profile: labels and quantities that are not given are taken from it, and a quantity given as
    null is not measured.
    """
    try:
        data = load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise ValueError(f"expected name, identity and quantities, found {kind}")  # noqa: TRY004  one error for all
    try:
        return Profile.model_validate(_extended(data, known or {}) if "extends" in data else data)
    except ValidationError as error:
        raise ValueError("; ".join(map(_fault, error.errors(include_url=False)))) from error


def _extended(data: Mapping[str, Any], known: Mapping[str, Profile]) -> dict[str, Any]:
    base = known.get(str(data["extends"]))
    if base is None:
        raise ValueError(f"extends: unknown profile {data['extends']!r}, known are {', '.join(sorted(known))}")
    inherited = base.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"name", "verified"})
    own = {field: value for field, value in data.items() if field != "extends"}
    for block in ("identity", "quantities"):
        if isinstance(given := own.get(block, {}), dict):
            merged = {**inherited[block], **given}
            own[block] = {name: value for name, value in merged.items() if value is not None}
    return {**inherited, **own}


def _fault(fault: ErrorDetails) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
