"""How long the demo takes: the times in its policy, and how long it watches."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Pace:
    """All in seconds; the window of one minute is the policy's own and never changes."""

    steady: int  # of 1.0.0 before the release
    tick: int  # of the operator's rule clock
    initial_delay: int
    hold: int  # the rule's `for`
    recovery_window: int

    def applied_to(self, policy: dict[str, Any]) -> dict[str, Any]:
        """Return the policy manifest with these times."""
        spec = policy["spec"]
        rules = [{**rule, "for": f"{self.hold * times}s"} for times, rule in enumerate(spec["rules"], start=1)]
        rollback = {
            **spec["rollback"],
            "initialDelay": f"{self.initial_delay}s",
            "recoveryWindow": f"{self.recovery_window}s",
        }
        return {**policy, "spec": {**spec, "rules": rules, "rollback": rollback}}


NORMAL = Pace(steady=45, tick=5, initial_delay=20, hold=10, recovery_window=60)
FAST = Pace(steady=12, tick=2, initial_delay=10, hold=4, recovery_window=20)
