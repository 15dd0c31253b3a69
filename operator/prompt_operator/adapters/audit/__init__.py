"""The audit trail's outside: the task that writes it, the sinks, and the anchor of its head."""

from prompt_operator.adapters.audit.anchor import Anchor
from prompt_operator.adapters.audit.segments import SegmentSink
from prompt_operator.adapters.audit.streams import FileSink, StdoutSink
from prompt_operator.adapters.audit.trail import AuditTrail, Sink

__all__ = ["Anchor", "AuditTrail", "FileSink", "SegmentSink", "Sink", "StdoutSink"]
