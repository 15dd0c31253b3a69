"""PromptVersion: one immutable version of a prompt."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prompt_operator.api.common import (
    AGE,
    VERSION_PATTERN,
    ApiModel,
    Column,
    Conditions,
    ContentHash,
    Definition,
    Fraction,
    Generation,
    Identifier,
    Latency,
    LongText,
    PromptRef,
    Resource,
    Score,
    SemVer,
    Switch,
    Text,
    Timestamp,
    Token,
    VariableName,
    cel,
    condition_column,
    immutable,
    list_atomic,
    list_map,
    list_set,
    validated,
)

Engine = Literal["Plain", "Simple", "Jinja2"]
Role = Literal["System", "User", "Assistant", "History"]
Stage = Literal["Draft", "Staged", "Deprecated"]
ObservedStage = Literal["Draft", "Staged", "Active", "Deprecated"]


class Message(ApiModel):
    """One message of a conversation."""

    role: Role = Field(description="Who speaks. History is the place where the earlier conversation goes.")
    content: Annotated[str, Field(max_length=65536)] = Field(description="Text of the message; empty for History.")


class Variable(ApiModel):
    """A value that the application puts into the text."""

    name: VariableName = Field(description="Name as it stands in the text, such as name in {{ name }}.")
    required: bool | None = Field(
        default=None, description="true: rendering fails without a value. Absent: required unless there is a default."
    )
    default: LongText | None = Field(default=None, description="Value used when the application gives none.")
    description: Text | None = Field(default=None, description="What the value means, for those who fill it in.")
    max_length: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Rendering fails when the value has more characters than this."
    )


class Parameter(ApiModel):
    """A provider's own parameter."""

    name: Identifier = Field(description="Name as the provider's API spells it, such as top_k.")
    value: LongText = Field(description="Value as JSON text, such as 40 or true; handed on as it is.")


class ModelSettings(ApiModel):
    """The model this version was written for."""

    provider: Identifier | None = Field(default=None, description="Who serves the model, such as openai or ollama.")
    name: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Name of the model as the provider spells it."
    )
    host: Annotated[str, Field(min_length=1, max_length=259, pattern=r"^[A-Za-z0-9.:\[\]-]+$")] | None = Field(
        default=None,
        description="Host, and port where needed, that serves the model; checked against the policy's hosts.",
    )
    temperature: Annotated[str, Field(max_length=8, pattern=r"^([01](\.[0-9]{1,4})?|2(\.0{1,4})?)$")] | None = Field(
        default=None, description='Randomness from "0" to "2", as a string.'
    )
    top_p: Fraction | None = Field(default=None, description='Nucleus sampling from "0" to "1", as a string.')
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Most tokens the model may answer with."
    )
    stop: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], list_atomic(16)] = Field(
        default=(), description="Texts at which the model stops."
    )
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = Field(
        default=None, description="Seed for providers that can repeat an answer."
    )
    extra: Annotated[tuple[Parameter, ...], list_map("name", at_most=32)] = Field(
        default=(), description="Further parameters of the provider."
    )


class Include(ApiModel):
    """A fragment, pinned by version."""

    prompt_ref: PromptRef = Field(description="The prompt whose text is put in at {{> name }}.")
    version: SemVer = Field(description="Version of that prompt; a fragment never changes under its user.")


class Alternative(ApiModel):
    """An option that was considered."""

    name: Token = Field(description="Name of the option.")
    score: Score | None = Field(default=None, description='How it was rated, from "0" to "10".')


class ExplorationDecision(ApiModel):
    """One choice on the way to this version."""

    depth: Annotated[int, Field(ge=0, le=64)] = Field(description="How deep in the tree of options, the root being 0.")
    selected: Token = Field(description="The option that was chosen.")
    alternatives: Annotated[tuple[Alternative, ...], list_map("name", at_most=32)] = Field(
        default=(), description="The options that were not chosen."
    )
    rationale: Text | None = Field(default=None, description="Why this one.")
    potential_issue: Text | None = Field(
        default=None, description="What may go wrong with it; shown first when the version is rolled back."
    )


class Exploration(ApiModel):
    """How the author came to this version; read when it fails."""

    path: Text | None = Field(default=None, description='The way through the options, such as "root > B > B.1".')
    techniques: Annotated[tuple[Token, ...], list_set(32)] = Field(
        default=(), description="Prompting techniques in use, such as few-shot."
    )
    complexity: Token | None = Field(default=None, description="The author's word for how demanding the task is.")
    decisions: Annotated[tuple[ExplorationDecision, ...], list_atomic(32)] = Field(
        default=(), description="The choices, from the root on."
    )


_MS = "(self.{0}.endsWith('ms') ? int(self.{0}.replace('ms', '')) : int(self.{0}.replace('s', '')) * 1000)"


class Expectations(ApiModel):
    """What the author expects. Latencies and tokensAverage are the baseline until one was measured."""

    model_config = validated(
        cel(
            "!has(self.latencyP50) || !has(self.latencyP95) || "
            f"{_MS.format('latencyP50')} <= {_MS.format('latencyP95')}",
            "latencyP50 must not be greater than latencyP95",
        ),
        cel(
            "!has(self.tokensAverage) || !has(self.tokensMax) || self.tokensAverage <= self.tokensMax",
            "tokensAverage must not be greater than tokensMax",
        ),
    )

    quality: Score | None = Field(default=None, description='Expected quality from "0" to "10".')
    accuracy: Fraction | None = Field(default=None, description='Expected share of right answers, "0" to "1".')
    latency_p50: Latency | None = Field(default=None, description="Expected median latency, such as 800ms.")
    latency_p95: Latency | None = Field(
        default=None, description="Expected 95th percentile of latency, such as 1500ms."
    )
    tokens_average: Annotated[int, Field(ge=0, le=10_000_000)] | None = Field(
        default=None, description="Expected tokens per request, input and output together."
    )
    tokens_max: Annotated[int, Field(ge=0, le=10_000_000)] | None = Field(
        default=None, description="Most tokens a request should take."
    )
    consistency: Fraction | None = Field(
        default=None, description='Expected share of equal answers to equal questions, "0" to "1".'
    )


class VersionRollback(ApiModel):
    """What a rollback from this version does."""

    reference: SemVer | None = Field(default=None, description="Version to go back to, before any from the history.")
    auto: Switch | None = Field(
        default=None, description="Disabled: rules never roll this version back. Absent: as prompt and policy say."
    )


_FIXED = immutable(
    *("promptRef", "version", "text", "messages", "engine", "variables", "model", "outputSchema", "includes"),
    *("exploration", "expectations", "rollback", "contentHash", "createdBy", "message", "source"),
    instead="create a new version instead",
)


class PromptVersionSpec(ApiModel):
    """Content and settings of one version. Only `stage` can be changed later."""

    model_config = validated(
        *_FIXED,
        cel("has(self.text) != has(self.messages)", "exactly one of text and messages must be given"),
        cel(
            "!has(oldSelf.stage) || oldSelf.stage == 'Draft' || !has(self.stage) || self.stage != 'Draft'",
            "stage cannot go back to Draft: create a new version instead",
        ),
        cel(
            "!has(self.includes) ||"
            " self.includes.all(a, self.includes.exists_one(b, b.promptRef.name == a.promptRef.name))",
            "includes must name each prompt only once",
        ),
        cel(
            "!has(self.includes) || self.includes.all(i, i.promptRef.name != self.promptRef.name)",
            "includes must not name the prompt itself",
        ),
        cel(
            "!has(self.rollback) || !has(self.rollback.reference) || self.rollback.reference != self.version",
            "rollback.reference must name another version",
        ),
    )

    prompt_ref: PromptRef = Field(description="The prompt this is a version of.")
    version: SemVer = Field(
        description="Semantic version in lower case without build metadata, such as 1.4.0 or 2.0.0-rc.1."
    )
    text: Annotated[str, Field(min_length=1, max_length=131072)] | None = Field(
        default=None, description="The prompt as one text. Give either text or messages."
    )
    messages: Annotated[tuple[Message, ...], Field(min_length=1), list_atomic(100)] | None = Field(
        default=None, description="The prompt as a conversation. Give either text or messages."
    )
    engine: Engine = Field(
        default="Simple",
        description="How the client fills in variables: Plain not at all, Simple only {{ name }}, Jinja2 all of it.",
    )
    variables: Annotated[tuple[Variable, ...], list_map("name", at_most=100)] = Field(
        default=(), description="The values that the application fills in."
    )
    model: ModelSettings | None = Field(default=None, description="Model and parameters the application should use.")
    output_schema: Annotated[str, Field(min_length=2, max_length=65536)] | None = Field(
        default=None, description="JSON Schema of the model's answer, as JSON text."
    )
    includes: Annotated[tuple[Include, ...], list_atomic(16)] = Field(
        default=(), description="Fragments from other prompts, put in at {{> name }}; at most three deep, no cycles."
    )
    exploration: Exploration | None = Field(default=None, description="How the author came to this version.")
    expectations: Expectations | None = Field(
        default=None,
        description="Declared quality and speed. Latencies and tokensAverage: the baseline until one was measured.",
    )
    rollback: VersionRollback | None = Field(default=None, description="What a rollback from this version does.")
    content_hash: ContentHash | None = Field(
        default=None, description="Hash the content must have; with another one the version is never activated."
    )
    created_by: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Who wrote this version."
    )
    message: LongText | None = Field(default=None, description="What changed and why.")
    source: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None, description="Where it came from, such as a commit or a ticket."
    )
    stage: Stage = Field(
        default="Staged",
        description="Draft: never activated. Staged: may be. Deprecated: not by experiment or rollback any more.",
    )


class PromptVersionStatus(ApiModel):
    """What the operator saw."""

    observed_generation: Generation | None = Field(
        default=None, description="The metadata.generation this status belongs to."
    )
    content_hash: ContentHash | None = Field(default=None, description="Hash of the content when first seen.")
    stage: ObservedStage | None = Field(
        default=None, description="Active while applications are served this version, else as spec.stage says."
    )
    activated_at: Timestamp | None = Field(default=None, description="When it last became active.")
    last_active_at: Timestamp | None = Field(default=None, description="When it last ceased to be active.")
    conditions: Conditions = Field(
        default=(), description="Ready: may be activated. Verified: the content still has the hash first seen."
    )


class PromptVersion(Resource):
    """One immutable version of a prompt: content, model, how it was found and what is expected of it."""

    model_config = validated(
        cel(
            # A bad version is refused for itself; a name made from it would mislead.
            f"!self.spec.version.matches(r'{VERSION_PATTERN}') ||"
            " self.metadata.name == self.spec.promptRef.name + '-' + self.spec.version",
            expression="'metadata.name must be ' + self.spec.promptRef.name + '-' + self.spec.version"
            " + ' (promptRef.name, a hyphen, version)'",
        )
    )
    definition: ClassVar = Definition(
        kind="PromptVersion",
        plural="promptversions",
        short="prv",
        columns=(
            Column("Prompt", ".spec.promptRef.name", "The prompt this is a version of."),
            Column("Version", ".spec.version", "The version."),
            Column("Stage", ".status.stage", "Draft, Staged, Active or Deprecated."),
            condition_column("Ready", "Ready", "status", "Whether it may be activated."),
            AGE,
            condition_column("Verified", "Verified", "status", "Whether the content is as first seen.", wide=True),
            Column("Hash", ".status.contentHash", "Hash of the content when first seen.", wide=True),
            Column("Model", ".spec.model.name", "The model it was written for.", wide=True),
            Column("Message", ".spec.message", "What changed and why.", wide=True),
        ),
        selectable=(".spec.promptRef.name", ".spec.version"),
    )

    kind: Literal["PromptVersion"] = "PromptVersion"
    spec: PromptVersionSpec = Field(description="Content and settings; only stage can be changed later.")
    status: PromptVersionStatus = Field(
        default_factory=PromptVersionStatus, description="What the operator saw; written by the operator."
    )
