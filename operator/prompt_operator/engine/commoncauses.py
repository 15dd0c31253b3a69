"""What many failing prompts share, as one incident, however many of them are kept from being rolled back by it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from prompt_operator.core.correlation import KINDS

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.core.correlation import CommonCause, Factor
    from prompt_operator.telemetry import Telemetry

_log = logging.getLogger(__name__)

_OVER_AFTER = timedelta(minutes=5)
"""A metric source that fails for a moment does not end an incident."""


class CommonCauses:
    """Follows the common causes that guards named.

    Args:
        telemetry: where it shows: `prompt_operator_common_causes` and the issues of /diagnostics.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._seen: dict[Factor, datetime] = {}
        self._count()

    def note(self, cause: CommonCause, now: datetime) -> None:
        """Take note that a prompt was not rolled back because of it."""
        factor, subject = cause.factor, _subject(cause.factor)
        self._seen[factor] = now
        message = f"{cause}: none of them is rolled back, look at the {factor.kind}"
        if self._telemetry.issues.seen(subject, message, now):
            _log.warning("%s: %s", subject, message)
            self._count()

    def keep(self, now: datetime) -> None:
        """End what was not named for a while."""
        for factor in [factor for factor, at in self._seen.items() if now - at > _OVER_AFTER]:
            del self._seen[factor]
            self._telemetry.issues.over(_subject(factor), now)
            _log.warning("%s: over, no guard has named it for %s", _subject(factor), _OVER_AFTER)
            self._count()

    def _count(self) -> None:
        for kind in KINDS:
            self._telemetry.common_causes.labels(kind).set(sum(factor.kind == kind for factor in self._seen))


def _subject(factor: Factor) -> str:
    return f"common cause {factor}"
