"""What to do about each thing that `doctor` finds, in one line; the runbook says more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.reasons import Objection, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNBOOKS = frozenset(map(str, (*Reason, *Objection)))
"""Each of these has a page of its own under docs/runbooks."""

OWN: Mapping[str, str] = {
    "CrdMissing": "kubectl apply --server-side -f crds/",
    "CrdOlder": "apply crds/ of this release before the operator: kubectl apply --server-side -f crds/",
    "OperatorDown": "see its pods and their log; applications keep what they have",
    "OperatorNotReady": "see what its /readyz and its log say; it reads everything before it acts",
    "OperatorFallback": "set mode: Active in its settings when applications may be served again",
    "OperatorFrozen": "set mode: Active in its settings when it may write again",
    "RightsMissing": "apply manifests/rbac.yaml, or upgrade the chart",
    "AdmissionOff": "apply manifests/admission.yaml: without it anybody may sign a rollback with any name",
    "PrometheusUnreachable": "set prometheusUrl, or see whether it runs and is reachable; no rule acts until then",
    "RulesLate": "see the operator's CPU and the query seconds of its metrics",
    "AuditTrailFails": "free the disk or the pipe of the audit sink; decisions go on and stay in their records",
    "NotLookedAt": "see whether the operator runs and looks after this namespace",
    "ConfigMapMissing": "a running operator writes it again within seconds: see whether it runs",
    "ConfigMapEdited": "a running operator puts it back within a second: see whether it runs",
    "RequestUnanswered": "it is answered as soon as the operator runs",
}
"""Names that doctor alone gives."""

_REASONS: Mapping[str, str] = {
    Reason.SUSPENDED: "kubectl prompt resume NAME, when it may go on",
    Reason.FALLBACK: "kubectl prompt enable NAME, or switch its policy or the operator back",
    Reason.ROLLED_BACK: "release a corrected version, or lift the hold: kubectl prompt explain NAME",
    Reason.VERSION_HELD: "release a corrected version, or lift the hold: kubectl prompt explain NAME",
    Reason.VERSION_MISSING: "apply the PromptVersion, or name one that exists",
    Reason.VERSION_DRAFT: "set its stage to Staged",
    Reason.HASH_MISMATCH: "find out who changed it; restore it, or kubectl prompt rehash NAME VERSION",
    Reason.TOO_LARGE: "shorten it: a ConfigMap takes 1,000,000 bytes",
    Reason.RULE_INVALID: "put the rule right: kubectl prompt lint FILE names the column",
    Reason.CUSTOM_METRIC_INVALID: "put the metric right: kubectl prompt lint FILE names the fault",
    Reason.POLICY_NOT_FOUND: "apply the policy, or take policyRef out",
    Reason.POLICY_INVALID: "put the policy right; its last valid form is in force",
    Reason.METRICS_PROFILE_NOT_FOUND: "name a profile the operator has, or give it one with --profiles-dir",
    Reason.METRICS_SOURCE_NOT_FOUND: "name a source the operator has, or add it to its settings",
    Reason.CONFIG_MAP_CONFLICT: "delete the foreign ConfigMap, or set spec.delivery.configMapName",
    Reason.API_ERROR: "see the operator's log; it tries again by itself",
    Reason.MANUAL_INTERVENTION_REQUIRED: "roll back by hand or repair it, then kubectl prompt ack RECORD",
    Reason.CRITICAL_RULE_FIRING: "kubectl prompt explain NAME, then kubectl prompt rollback NAME",
    Reason.NO_EVIDENCE: "see whether applications export metrics and Prometheus scrapes them",
    Reason.NOT_SEEN_YET: "see whether pods run that mount it and export metrics; kubelet takes up to 90 s",
    Reason.RECORDING_RULES_MISSING: "load manifests/recording-rules into Prometheus",
    Reason.REVIEW_REQUESTED: "look at its answers, then kubectl prompt review NAME",
    Reason.NOTHING_SERVED: "see why Ready is not True: kubectl prompt explain NAME",
    Reason.NOT_RECOVERED: "look outside the prompt (provider, data, application), or kubectl prompt fallback NAME",
    Reason.INCONCLUSIVE: "look at the application yourself: nobody knows whether the rollback helped",
    Reason.NOT_IMPLEMENTED: "this release does not act on the field: take it out",
    Objection.CLOCK_SKEW: "put the clock of the operator's machine right (NTP); no rule rolls back until then",
    Objection.NO_TARGET: "repair it, or kubectl prompt fallback NAME",
    Objection.TARGET_UNHEALTHY: "repair it, or kubectl prompt fallback NAME",
}


def remedy(found: str) -> str:
    """Return what to do; for a guard's objection without a line of its own, what helps against all of them."""
    return OWN.get(found) or _REASONS.get(found) or "kubectl prompt explain NAME"
