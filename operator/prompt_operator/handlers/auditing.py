"""The audit trail of a run, as the settings want it."""

from __future__ import annotations

import platform
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_operator.adapters.audit import Anchor, AuditTrail, FileSink, SegmentSink, StdoutSink

if TYPE_CHECKING:
    from prompt_operator.adapters.audit import Sink
    from prompt_operator.ports import Clock, Cluster
    from prompt_operator.settings import Settings
    from prompt_operator.telemetry import Telemetry

_LONGEST = 60


def audit_trail(
    settings: Settings,
    cluster: Cluster,
    home: str,
    clock: Clock,
    telemetry: Telemetry,
) -> AuditTrail | None:
    """Return the trail, not begun yet; None when it is switched off.

    Args:
        settings: the settings.
        cluster: the API server.
        home: the operator's own namespace, for ConfigMaps whose setting names none.
        clock: the clocks.
        telemetry: counts entries.
    """
    if settings.audit == "off":
        return None
    anchor = Anchor(cluster, *placed(settings.audit_anchor, home)) if settings.audit_anchor else None
    sink = _sink(settings, cluster, home)
    return AuditTrail(sink, anchor, clock, telemetry, writer=_writer())


def _sink(settings: Settings, cluster: Cluster, home: str) -> Sink:
    if settings.audit == "file":
        return FileSink(Path(settings.audit_file))
    if settings.audit == "configMap":
        return SegmentSink(cluster, *placed(settings.audit_name, home))
    return StdoutSink()


def placed(name: str, home: str) -> tuple[str, str]:
    """Return namespace and name of `NAME` or `NAMESPACE/NAME`."""
    namespace, _, name = name.rpartition("/")
    return namespace or home, name


def _writer() -> str:
    """Return a name for a chain that no other process ever has; it is a key of the anchor, too."""
    machine = re.sub(r"[^-._a-zA-Z0-9]", "-", platform.node())[:_LONGEST]
    return f"{machine}-{uuid.uuid4().hex[:8]}"
