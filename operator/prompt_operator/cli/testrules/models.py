"""The form of a file of rule tests."""

from typing import Annotated, Any

from pydantic import Field

from prompt_operator.api.common import ApiModel, Duration
from prompt_operator.api.policyblocks import EvidencePolicy, Rules
from prompt_operator.api.promptstatus import RuleState


class Expect(ApiModel):
    """What somebody expects of one rule at one instant."""

    at: Duration = Field(description="Instant since the first sample, a multiple of the interval.")
    rule: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Name of a rule that is in force.")
    state: RuleState = Field(description="State of the rule.")
    value: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Value of the metric that the condition names first, as exact as it is written."
    )
    rollback: bool | None = Field(
        default=None, description="Whether the rule asks for a rollback on enough evidence; safeguards are not played."
    )


class RuleTest(ApiModel):
    """One file of rule tests."""

    interval: Duration = Field(description="Between two samples, and between two judgements.")
    rules: Rules = Field(default=(), description="Rules as in a Prompt, beside the built-in ones.")
    evidence: EvidencePolicy | None = Field(default=None, description="As in a PromptPolicy.")
    series: dict[str, Any] = Field(min_length=1, description="Metric or quantity -> samples in promtool's shorthand.")
    baseline: dict[str, str] = Field(default={}, description="Metric -> what is normal, such as 2s.")
    expect: Annotated[tuple[Expect, ...], Field(min_length=1, max_length=1000)] = Field(
        description="What is expected when."
    )
