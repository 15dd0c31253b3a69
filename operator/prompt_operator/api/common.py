"""What all kinds share: the base model, scalar types with their bounds, references, conditions, metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

GROUP = "promptops.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
PROMPT_NAME_PATTERN = f"^{_LABEL}$"
_NUMERIC = "(0|[1-9][0-9]{0,8})"
_PRERELEASE = "(0|[1-9][0-9]*|[0-9]*[a-z-]([0-9a-z-]*[0-9a-z])?)"
VERSION_PATTERN = rf"^{_NUMERIC}\.{_NUMERIC}\.{_NUMERIC}(-{_PRERELEASE}(\.{_PRERELEASE})*)?$"


class ApiModel(BaseModel):
    """A part of a manifest: snake_case here, camelCase on the wire, frozen.

    Unknown members are ignored, so that an older program reads what a newer server returns.
    `model_dump(by_alias=True, exclude_none=True, mode="json")` gives what is applied.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        frozen=True,
        json_schema_serialization_defaults_required=False,
    )


def cel(rule: str, message: str = "", *, expression: str = "") -> dict[str, str]:
    """One entry of `x-kubernetes-validations`; `expression` is a CEL string that makes the message."""
    texts = {"message": message, "messageExpression": expression}
    return {"rule": rule} | {key: text for key, text in texts.items() if text}


def validated(*rules: dict[str, str]) -> ConfigDict:
    """A model's config with CEL rules for the object that the model describes."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [dict(rule) for rule in rules]})


def immutable(*names: str, instead: str) -> tuple[dict[str, str], ...]:
    """A rule per member that refuses any change, also adding and removing; the message says what to do `instead`."""
    return tuple(
        cel(
            f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
            f"{name} cannot be changed: {instead}",
        )
        for name in names
    )


def _absent(value: object) -> bool:
    """Empty members are not written."""
    return not value


def _list(at_most: int, **extra: str | list[str]) -> FieldInfo:
    """A bounded list; where it is a member of its own and not optional, an empty one is not written."""
    schema: dict[str, Any] = {f"x-kubernetes-{key.replace('_', '-')}": value for key, value in extra.items()}
    info: FieldInfo = Field(max_length=at_most, json_schema_extra=schema, exclude_if=_absent)
    return info


def list_map(*keys: str, at_most: int) -> FieldInfo:
    """A list of objects that server-side apply merges by these members."""
    return _list(at_most, list_type="map", list_map_keys=list(keys))


def list_set(at_most: int) -> FieldInfo:
    """A list of scalars without order, each at most once."""
    return _list(at_most, list_type="set")


def list_atomic(at_most: int) -> FieldInfo:
    """A list whose order matters; it is replaced as a whole."""
    return _list(at_most, list_type="atomic")


def _whole_seconds(value: datetime) -> datetime:
    """UTC without fractions, as Kubernetes writes times: what is read back equals what was kept in memory."""
    return value.astimezone(UTC).replace(microsecond=0)


def rfc3339(value: datetime) -> str:
    """`2026-01-02T03:04:05Z`: the form of every time in the API."""
    return _whole_seconds(value).strftime("%Y-%m-%dT%H:%M:%SZ")


def _explained(pattern: str, shortest: int, longest: int, message: str) -> FieldInfo:
    """A string with a pattern, and a refusal that people understand beside the one that cites the pattern."""
    hint: dict[str, Any] = {"x-kubernetes-validations": [dict(cel(f"self.matches(r'{pattern}')", message))]}
    info: FieldInfo = Field(min_length=shortest, max_length=longest, pattern=pattern, json_schema_extra=hint)
    return info


Timestamp = Annotated[AwareDatetime, AfterValidator(_whole_seconds), PlainSerializer(rfc3339, when_used="json")]
Text = Annotated[str, Field(max_length=1024)]
LongText = Annotated[str, Field(max_length=4096)]
Token = Annotated[str, Field(min_length=1, max_length=63)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
PromptName = Annotated[str, Field(min_length=1, max_length=63, pattern=PROMPT_NAME_PATTERN)]
Identifier = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]
VariableName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
MetricName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_]*$")]
SemVer = Annotated[
    str, _explained(VERSION_PATTERN, 5, 63, "must be a semantic version such as 1.4.0 or 2.0.0-rc.1, in lower case")
]
ContentHash = Annotated[str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
Duration = Annotated[
    str, _explained(r"^[0-9]{1,6}(s|m|h|d|w)$", 2, 8, "must be a duration such as 30s, 15m, 24h or 14d")
]
Latency = Annotated[str, _explained(r"^[0-9]{1,7}(ms|s)$", 2, 9, "must be a latency such as 800ms or 2s")]
BaselineFloor = Annotated[
    str,
    _explained(
        r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|%)?$",
        1,
        18,
        "must be a number with its unit, such as 200ms, 5% or 40",
    ),
]
Percent = Annotated[
    str, _explained(r"^(100|[0-9]{1,2}(\.[0-9]{1,5})?)%$", 2, 9, "must be a percentage such as 5% or 99.9%")
]
Fraction = Annotated[
    str, _explained(r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$", 1, 12, 'must be a string between "0" and "1", such as "0.95"')
]
Decimal = Annotated[
    str, Field(min_length=1, max_length=32, pattern=r"^[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?$")
]
Amount = Annotated[str, Field(min_length=1, max_length=20, pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]
Score = Annotated[str, Field(min_length=1, max_length=6, pattern=r"^(10(\.0{1,3})?|[0-9](\.[0-9]{1,3})?)$")]
Rate = Annotated[str, Field(min_length=3, max_length=9, pattern=r"^[1-9][0-9]{0,4}/(s|min|h|d)$")]
Window = Literal["1m", "5m", "10m", "15m", "30m", "1h", "24h", "7d"]
Switch = Literal["Enabled", "Disabled"]
Mode = Literal["Active", "Fallback"]
Unit = Literal["User", "Conversation", "Request"]
Severity = Literal["Warning", "Critical"]
Action = Literal["Alert", "Rollback", "Review"]
Confidence = Literal["Low", "Medium", "High"]
Outcome = Literal["Executed", "Refused", "DryRun"]
ConditionStatus = Literal["True", "False", "Unknown"]
ReasonWord = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]


class PromptRef(ApiModel):
    """A prompt in the same namespace."""

    name: PromptName = Field(description="Name of the Prompt, in the same namespace.")


class PolicyRef(ApiModel):
    """A policy in the same namespace."""

    name: ObjectName = Field(description="Name of the PromptPolicy, in the same namespace.")


class Condition(ApiModel):
    """One aspect of the object's state, in the standard Kubernetes form."""

    type: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")] = Field(
        description="Aspect this condition is about, in CamelCase, such as Ready."
    )
    status: ConditionStatus = Field(description="Whether the condition holds: True, False or Unknown.")
    observed_generation: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = Field(
        default=None, description="The metadata.generation this condition was judged by."
    )
    last_transition_time: Timestamp = Field(description="When status last changed.")
    reason: ReasonWord = Field(description="One CamelCase word for the present status; programs may rely on it.")
    message: Annotated[str, Field(max_length=32768)] = Field(
        description="The same for people: what is the case and what to do about it."
    )


Conditions = Annotated[tuple[Condition, ...], list_map("type", at_most=16)]
Generation = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Measurement(ApiModel):
    """One measured value of a metric."""

    metric: MetricName = Field(description="Name of the metric, such as error_rate or latency_p95.")
    value: Decimal = Field(description="The value in base units: seconds, a share between 0 and 1, a count, a score.")
    samples: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = Field(
        default=None, description="How many observations the value rests on."
    )
    window: Duration | None = Field(default=None, description="The time span that was looked at, ending at `at`.")
    version: SemVer | None = Field(default=None, description="The version that was measured.")
    at: Timestamp = Field(description="When it was measured: the end of the window.")


class Evidence(ApiModel):
    """One look at one comparison: what was measured, and what it was compared with."""

    metric: MetricName = Field(description="Name of the metric that was judged.")
    value: Decimal | None = Field(default=None, description="The measured value in base units; absent when unknown.")
    threshold: Decimal | None = Field(default=None, description="The limit it was compared with, in base units.")
    baseline: Decimal | None = Field(
        default=None, description="The baseline behind the limit, where the rule names one."
    )
    baseline_from: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Where that baseline comes from: what it was measured on, or who declared it."
    )
    bound: Decimal | None = Field(
        default=None, description="The bound of the confidence interval that had to lie beyond the threshold."
    )
    confidence: Percent | None = Field(default=None, description="Confidence of that bound, such as 99.9%.")
    samples: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = Field(
        default=None, description="How many observations the value rests on."
    )
    window: Duration | None = Field(default=None, description="The time span that was looked at, ending at `at`.")
    rule: Identifier | None = Field(default=None, description="Name of the rule this belongs to.")
    query: LongText | None = Field(default=None, description="The PromQL query that gave the value, to run it again.")
    at: Timestamp = Field(description="When it was measured.")


Inputs = Annotated[
    str,
    Field(
        max_length=16384,
        description="What the safeguards were given, as JSON: with it the decision can be made again "
        "(kubectl prompt audit replay).",
    ),
]


class ObjectMeta(ApiModel):
    """The part of `metadata` that the operator reads; it is not part of the generated schema."""

    name: str
    namespace: str = Field(default="", exclude_if=_absent)
    uid: str = Field(default="", exclude_if=_absent)
    resource_version: str = Field(default="", exclude_if=_absent)
    generation: int = Field(default=0, exclude_if=_absent)
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    annotations: dict[str, str] = Field(default_factory=dict, exclude_if=_absent)
    labels: dict[str, str] = Field(default_factory=dict, exclude_if=_absent)


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column; `wide` ones show with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Definition:
    """What a CustomResourceDefinition says beside the schema; `selectable` are paths for field selectors."""

    kind: str
    plural: str
    short: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]

    @property
    def crd_name(self) -> str:
        """`prompts.promptops.dev`."""
        return f"{self.plural}.{GROUP}"


def condition_column(name: str, condition: str, member: str, description: str, *, wide: bool = False) -> Column:
    """A column with one member of one condition."""
    return Column(name, f'.status.conditions[?(@.type=="{condition}")].{member}', description, wide=wide)


AGE = Column("Age", ".metadata.creationTimestamp", "Time since creation.", type="date")


class Resource(ApiModel):
    """A whole manifest; each kind adds `spec`, `status` and its definition."""

    definition: ClassVar[Definition]

    api_version: str = API_VERSION
    kind: str
    metadata: ObjectMeta

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Self:
        """Parse what the API server returned.

        Raises:
            pydantic.ValidationError: a member is missing or out of its bounds.
        """
        return cls.model_validate(manifest)
