"""The closed vocabulary of reasons. Stored in status, Events and records: add, never rename.

Every reason has a page of the same name in docs/runbooks.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Condition types of the kinds. State, not transition, in names."""

    READY = "Ready"
    SERVING = "Serving"
    HEALTHY = "Healthy"
    PROPAGATED = "Propagated"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    NOT_IMPLEMENTED = "NotImplemented"
    REVIEW_REQUIRED = "ReviewRequired"
    NOT_RECORDED = "NotRecorded"
    VERIFIED = "Verified"
    ACCEPTED = "Accepted"
    EXECUTED = "Executed"
    RECOVERED = "Recovered"


class Reason(StrEnum):
    """Why a condition has its status, or what an Event tells."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    FALLBACK = "Fallback"
    ROLLED_BACK = "RolledBack"
    VERSION_HELD = "VersionHeld"
    VERSION_MISSING = "VersionMissing"
    VERSION_DRAFT = "VersionDraft"
    HASH_MISMATCH = "HashMismatch"
    TOO_LARGE = "TooLarge"
    RULE_INVALID = "RuleInvalid"
    CUSTOM_METRIC_INVALID = "CustomMetricInvalid"
    POLICY_NOT_FOUND = "PolicyNotFound"
    POLICY_INVALID = "PolicyInvalid"
    CONFIG_MAP_CONFLICT = "ConfigMapConflict"
    API_ERROR = "ApiError"
    NOT_IMPLEMENTED = "NotImplemented"
    NOTHING_SERVED = "NothingServed"
    CRITICAL_RULE_FIRING = "CriticalRuleFiring"
    MANUAL_INTERVENTION_REQUIRED = "ManualInterventionRequired"
    RULES_NORMAL = "RulesNormal"
    NO_EVIDENCE = "NoEvidence"
    METRICS_PROFILE_NOT_FOUND = "MetricsProfileNotFound"
    METRICS_SOURCE_NOT_FOUND = "MetricsSourceNotFound"
    SEEN_IN_METRICS = "SeenInMetrics"
    NOT_SEEN_YET = "NotSeenYet"
    REVIEW_REQUESTED = "ReviewRequested"
    RECORDING_RULES_MISSING = "RecordingRulesMissing"
    IDENTICAL = "Identical"
    VALID = "Valid"
    # Events only
    ACTIVATED = "Activated"
    HEALED = "ConfigMapHealed"
    RULE_FIRING = "RuleFiring"
    RULE_RESOLVED = "RuleResolved"
    ROLLBACK_REFUSED = "RollbackRefused"
    ROLLBACK_DRY_RUN = "RollbackDryRun"
    RECOVERED = "Recovered"
    NOT_RECOVERED = "NotRecovered"
    INCONCLUSIVE = "Inconclusive"
    WATCHING = "Watching"
    EXECUTED = "Executed"
    ACCEPTED = "Accepted"
    STALE_REQUEST = "StaleRequest"
    REFUSED = "Refused"
    DRY_RUN = "DryRun"


class Objection(StrEnum):
    """Why an automatic rollback does not happen now, in the order in which the guards are asked."""

    SUSPENDED = "Suspended"
    AUTO_ROLLBACK_DISABLED = "AutoRollbackDisabled"
    EVIDENCE_STALE = "EvidenceStale"
    CLOCK_SKEW = "ClockSkew"
    SETTLING = "Settling"
    TOO_FEW_SAMPLES = "TooFewSamples"
    NOT_CONFIDENT = "NotConfident"
    CORRELATED_BREACH = "CorrelatedBreach"
    NO_TARGET = "NoTarget"
    TARGET_UNHEALTHY = "TargetUnhealthy"
    ROLLBACK_OF_ROLLBACK = "RollbackOfRollback"
    COOLING_DOWN = "CoolingDown"
    DAILY_LIMIT_REACHED = "DailyLimitReached"
    GLOBAL_RATE_LIMITED = "GlobalRateLimited"
    DRY_RUN = "DryRun"
