"""The figures of a run, for programs."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from devcluster.controlplane import ControlPlane
from devcluster.demo.observer import Projection, Sight
from devcluster.demo.stage import Stage
from devcluster.demo.story import BAD, OLD, Story


def report(story: Story, stage: Stage) -> dict[str, Any]:
    """Return what `--json` writes; instants and figures as they were read, null for what did not happen."""
    now = story.sight
    decision = now.status.get("decision") or {}
    rolled_back = decision.get("kind") == "Rollback"
    return {
        "components": story.components,
        "apply_to_configmap_ms": _apply_to_config_map(story, stage.cluster),
        "breach_to_switch_s": _breach_to_switch(now),
        "held_to_switch_s": _held_to_switch(now, story.pace.hold),
        "activeBefore": decision.get("from", story.new) if rolled_back else story.new,
        "activeAfter": now.active,
        "reason": decision.get("reason", "") if rolled_back else now.condition("Ready").get("reason", ""),
        "errorRate": {"before": story.before, "during": _worst(now), "after": now.error_rate},
        "recovered": now.condition("Recovered", now.record).get("status") == "True" if rolled_back else None,
        "rolledBack": rolled_back,
        "decision": decision.get("id"),
        "rule": decision.get("rule"),
        "ruleStates": [change.state for change in now.rule_changes],
        "servedHash": now.application.get("hash"),
        "configMapHash": now.projection.hash if now.projection else None,
        "answers": now.application.get("versions", {}),
        "applicationEnvironment": now.application.get("environment", []),
        "duration_s": round(story.elapsed, 1),
    }


def write(path: Path, figures: Mapping[str, Any]) -> None:
    """Write the figures as JSON."""
    write_text(path, json.dumps(figures, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _breach_to_switch(now: Sight) -> float | None:
    """Seconds from the first answer of the new version that was rejected to the old one's ConfigMap on a watch."""
    failed = now.application.get("versions", {}).get(BAD, {}).get("first_rejected_at")
    switched = _last(now, OLD)
    return round(switched.at - failed, 2) if failed and switched and switched.at > failed else None


def _held_to_switch(now: Sight, hold: float) -> float | None:
    """Seconds from the end of the rule's `for` to the old version's ConfigMap, both as watches show them."""
    pending = next((change for change in reversed(now.rule_changes) if change.state == "Pending"), None)
    switched = _last(now, OLD)
    return round(switched.at - pending.at - hold, 2) if pending and switched and switched.at > pending.at else None


def _apply_to_config_map(story: Story, plane: ControlPlane) -> float | None:
    """Milliseconds from the API server's receipt of kubectl's apply (audit log) to the ConfigMap on a watch."""
    shown = next((seen for seen in story.sight.projections if seen.version == story.new), None)
    received = [at for at in map(_received, plane.audit_log.read_text("utf-8").splitlines()) if at]
    applied = next((at for at in received if at >= story.released_at), None)
    return round((shown.at - applied) * 1000, 1) if shown and applied else None


def _received(line: str) -> float | None:
    """When the API server received this request, if it is kubectl's change of the Prompt."""
    event = json.loads(line)
    target = event.get("objectRef", {})
    if target.get("resource") != "prompts" or target.get("subresource") or event["verb"] != "patch":
        return None
    return datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()


def _last(now: Sight, version: str) -> Projection | None:
    return next((seen for seen in reversed(now.projections) if seen.version == version), None)


def _worst(now: Sight) -> float:
    return max((rate for rate in now.curve if rate is not None), default=0.0)
