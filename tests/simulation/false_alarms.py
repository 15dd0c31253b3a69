"""How often do the built-in rules roll back a version that is well, and how soon one that is not?

`python -m tests.simulation.false_alarms --days 400` prints the tables of docs/decisions/evidence-bounds.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, replace
from math import inf
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from tests.simulation.traffic import Phase, counters
from tests.simulation.watch import Judge, Watch

from prompt_operator.api.prompt import PromptSpec
from prompt_operator.core.policy import Effective, effective

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY = 24 * 60
"""Minutes."""
RATES = (2, 4, 20)
"""Requests per minute."""
HEALTHY = 0.02
BROKEN = 0.3
BEFORE, AFTER = 60, 60
"""Minutes before a jump, and after it until it counts as missed."""


def built_in() -> Effective:
    """Return the policy of a prompt without a policy."""
    return effective(PromptSpec(version="1.1.0"), None, "shop")


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """What the rules did on days on which nothing was wrong."""

    days: int
    rollbacks: Counter[str]
    alerts: Counter[str]

    @property
    def per_day(self) -> float:
        """False rollbacks per day."""
        return self.rollbacks.total() / self.days


def false_alarms(policy: Effective, per_minute: float, days: int, seed: int) -> FalseAlarms:
    """Watch versions with the healthy error rate, each for a day from its activation on."""
    dice, judge = Random(seed), Judge(policy)  # noqa: S311  repeatable, nothing secret
    rollbacks, alerts = Counter[str](), Counter[str]()
    for _ in range(days):
        watch = Watch(judge, counters([Phase(DAY, per_minute, HEALTHY)], dice), _phase(dice))
        watch.play()
        rollbacks.update(rollback.rule for rollback in watch.rollbacks)
        alerts.update(alert.rule for alert in watch.alerts)
    return FalseAlarms(days, rollbacks, alerts)


def _phase(dice: Random) -> float:
    return dice.randrange(15 * 8) / 8


@dataclass(frozen=True, slots=True)
class Detection:
    """Minutes from each jump to the rollback; infinite where none came within AFTER."""

    minutes: tuple[float, ...]
    rules: Counter[str]

    @property
    def median(self) -> float:
        """Half of the jumps were caught within so many minutes."""
        return median(self.minutes)

    def share_within(self, minutes: float) -> float:
        """Return the share of jumps that were caught within so many minutes."""
        return sum(minute <= minutes for minute in self.minutes) / len(self.minutes)


def detection(policy: Effective, per_minute: float, jumps: int, seed: int, *, to: float = BROKEN) -> Detection:
    """Let the error rate jump; a version that was rolled back before its jump is not counted."""
    dice, judge = Random(seed), Judge(policy)  # noqa: S311  repeatable, nothing secret
    minutes, rules = list[float](), Counter[str]()
    for _ in range(jumps):
        phases = [Phase(BEFORE, per_minute, HEALTHY), Phase(AFTER, per_minute, to)]
        watch = Watch(judge, counters(phases, dice), _phase(dice))
        watch.play(until_rollback=True)
        first = watch.rollbacks[0] if watch.rollbacks else None
        if first is None or first.minute >= BEFORE:
            minutes.append(first.minute - BEFORE if first else inf)
            rules.update([first.rule] if first else [])
    return Detection(tuple(minutes), rules)


def main() -> None:
    """Print the two tables, in Markdown."""
    asked = _arguments()
    changes = {"min_samples": asked.min_samples, "alert_confidence": asked.alert, "rollback_confidence": asked.rollback}
    policy = replace(built_in(), **{name: value for name, value in changes.items() if value is not None})
    _print_row("requests a minute", "false rollbacks a day", "by rule, in all", "false alerts a day")
    _print_row(*["---"] * 4)
    for rate in asked.rates:
        alarms = false_alarms(policy, rate, asked.days, asked.seed)
        alerts = {rule: count / asked.days for rule, count in alarms.alerts.items()}
        _print_row(rate, f"{alarms.per_day:.4f}", _listed(alarms.rollbacks), _listed(alerts))
    print()  # noqa: T201
    _print_row("requests a minute", "median minutes", "within 8 minutes", "within 15 minutes", "by rule")
    _print_row(*["---"] * 5)
    for rate in asked.rates:
        found = detection(policy, rate, asked.jumps, asked.seed)
        shares = [f"{found.share_within(minutes):.1%}" for minutes in (8, 15)]
        _print_row(rate, f"{found.median:.2f}", *shares, _listed(found.rules))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=400, help="simulated days per rate")
    parser.add_argument("--jumps", type=int, default=1000, help="simulated jumps per rate")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="requests per minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--min-samples", type=int, help="instead of the built-in ones")
    parser.add_argument("--alert", type=float, help="confidence of alerts instead of the built-in one, such as 0.95")
    parser.add_argument("--rollback", type=float, help="confidence of rollbacks instead of the built-in one")
    return parser.parse_args()


def _listed(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{rule} {figure:.4g}" for rule, figure in sorted(figures.items())) or "none"


def _print_row(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|", flush=True)  # noqa: T201  it is what the program is for


if __name__ == "__main__":
    main()
