"""The real program with two waits cut short, so that hundreds of scenes fit into a test: run this file instead of it.

A request to the API server is given up after seconds instead of half a minute, and a recovery is judged without waiting
until the rule's own window lies behind the switch, which is five minutes with any clock.
"""

from __future__ import annotations

from functools import partialmethod
from typing import TYPE_CHECKING
from unittest.mock import patch

from prompt_operator.__main__ import main
from prompt_operator.adapters.cluster import ApiCluster
from prompt_operator.core import recovery
from prompt_operator.core.rules.units import NO_TIME

if TYPE_CHECKING:
    from datetime import timedelta

    from prompt_operator.core.rules.model import Rule

GIVEN_UP_AFTER = 5.0
"""Seconds."""


def at_once(_: Rule) -> timedelta:
    """Say that a rule looks at this very moment."""
    return NO_TIME


def hurry() -> None:
    """Cut the waits short, for as long as this process lives."""
    impatient = partialmethod(ApiCluster.__init__, timeout=GIVEN_UP_AFTER)
    patch.object(ApiCluster, "__init__", impatient).start()
    patch.object(recovery, "reach_of", at_once).start()


if __name__ == "__main__":
    hurry()
    main()
