"""The frozen snapshot one decision is made on. Whoever fills it reads only; whoever decides on it does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prompt_operator.core.managed import UNKNOWN
from prompt_operator.core.rules.cadence import cadence_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from prompt_operator.api.common import Measurement
    from prompt_operator.api.prompt import Prompt
    from prompt_operator.core.audit.entry import Audited
    from prompt_operator.core.correlation import Factor, Tally
    from prompt_operator.core.ledger import RollbackRecord
    from prompt_operator.core.managed import Acts
    from prompt_operator.core.policy import Effective
    from prompt_operator.core.projection import ObservedConfigMap
    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.rules.measure import Measured, Need
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.core.rules.streak import Streak
    from prompt_operator.core.versions import VersionRecord


@dataclass(frozen=True, slots=True)
class RuleReading:
    """What the rule clock knows of one rule, for the version that is active."""

    rule: Rule
    streak: Streak
    alert: Judgement
    """The condition at the confidence of alerts; drives the streak."""
    rollback: Judgement
    """The same measurement at the confidence of rollbacks."""
    at: datetime
    """Instant the newest usable answer of Prometheus belongs to."""
    basis: Mapping[Need, Measured] | None = field(default=None, compare=False, repr=False)
    """What `rollback` was judged on; kept while the rule fires and may roll back."""


@dataclass(frozen=True, slots=True)
class Readings:
    """All rules of one prompt, for one activation of one version."""

    version: str
    activated_at: datetime | None
    rules: tuple[RuleReading, ...] = ()
    traffic: bool = False
    """The version was seen in the metrics: some application serves it."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a version, read just now."""

    version: str
    content_hash: str
    entry: Mapping[str, Any]
    """Its wire entry, see `projection.entry_of`."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is known beyond one prompt: for the guards that look at the whole cluster."""

    skew: timedelta | None = None
    """The API server's clock less ours; None when it was not measured."""
    rollbacks: tuple[datetime, ...] = ()
    """Instants of the automatic rollbacks of all prompts."""
    tallies: Mapping[Factor, Tally] = field(default_factory=dict)
    """How many prompts breach, by what they have in common."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known about one prompt at one instant."""

    prompt: Prompt
    policy: Effective
    policy_missing: str
    """Name of the PromptPolicy that `policyRef` names and that does not exist; empty otherwise."""
    versions: Mapping[str, VersionRecord]
    """PromptVersions of this prompt, by version."""
    records: tuple[RollbackRecord, ...]
    """PromptRollbacks of this prompt, oldest first."""
    config_map: ObservedConfigMap | None
    config_map_known: bool
    """False: the store holds none of ours; whether a foreign one stands there must be read before writing."""
    stray_config_maps: tuple[ObservedConfigMap, ...]
    """ConfigMaps of ours for this prompt under a name that is no longer wanted."""
    readings: Readings | None
    contents: Mapping[str, Content]
    """What was read for this decision, by version; usually nothing has to be."""
    operator_mode: str
    """Active, Fallback or Frozen: the operator-wide switch."""
    fresh_for: timedelta
    """How old a reading of what is asked at every tick may be; see `fresh_for_rule`."""
    desired_by: str
    """Field manager that set `spec.version`; the API tells no more about who it was."""
    acts: Acts = UNKNOWN
    """Who wrote the spec and the annotations of people's wishes, and when."""
    normal: tuple[Measurement, ...] = ()
    """What was measured of the version that counts as normal, for this activation or an earlier one."""
    profile_missing: str = ""
    """The metric profile that the policy in force names and that the operator does not have; empty otherwise."""
    source_missing: str = ""
    """The name in `metrics.source` when the operator has no source of that name; empty otherwise."""
    profile: Profile | None = None
    """Under which names the metrics of this prompt are exported; None where nobody knows its profile."""
    measured: bool = True
    """There is a Prometheus: what was not judged yet, as after a restart, will be."""
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    audited: Audited | None = None
    """What the audit trail holds; None while that is not known, or without a trail."""

    @property
    def served_version(self) -> str:
        """The version that our ConfigMap says it serves; empty without one, or where it cannot be read."""
        served = self.config_map.served if self.config_map is not None else None
        return served.version if served is not None else ""

    def fresh_for_rule(self, rule: Rule) -> timedelta:
        """Return how old the reading of a rule may be before it is stale: slow windows are asked less often."""
        return self.fresh_for + cadence_of(rule)
