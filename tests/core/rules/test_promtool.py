"""Where Prometheus can express a rule it says the same: states at every instant, by `promtool test rules`.

Left out, each by name: what Prometheus does not know (bounds, a minimum of samples, quantiles judged as shares), and
what comes after an instant at which nothing is known: there Prometheus takes the condition for false and resolves, the
difference that test_without_data_prometheus_resolves_and_we_wait shows.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.core.rules.alerting import Alert, expected_alerts, promtool

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.cli.testrules.case import BUILT_IN, case_of
from prompt_operator.cli.testrules.testfile import read
from prompt_operator.core.rules.metrics import Quantile, Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.scenario import Evidence, Given, play
from prompt_operator.core.rules.series import expand
from prompt_operator.core.rules.streak import State

if TYPE_CHECKING:
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.series import Series

FILES = sorted((Path(__file__).parents[2] / "rules").glob("*.yaml"))
PROFILES = load_profiles()
UNBOUNDED = Evidence(min_samples=1, alert_confidence=0.0, rollback_confidence=0.0, profile=PROFILES["native"])
"""A bound at no confidence is the value itself."""
MINUTE = timedelta(minutes=1)
LENGTH = 40
COUNT = 300


def states(alert: Alert, until: timedelta) -> dict[timedelta, State]:
    """Return the state of a rule at each instant until it is unknown for the first time after it was known."""
    told: dict[timedelta, State] = {}
    for moment in play((alert.rule,), alert.given, UNBOUNDED, until=until):
        if moment.state is not State.UNKNOWN:
            told[moment.at] = moment.state
        elif told:
            break
    return told


def compared(folder: Path, alerts: list[Alert], until: timedelta) -> Counter[State]:
    """Let promtool check the states of all rules at all instants; return how often which state was compared."""
    played = {alert.name: states(alert, until) for alert in alerts}
    instants = sorted({at for told in played.values() for at in told})
    checks = [expected_alerts(at, {name: told[at] for name, told in played.items() if at in told}) for at in instants]
    assert promtool(folder, alerts, checks, alerts[0].given.interval) == ""
    return Counter(state for told in played.values() for state in told.values())


def test_random_rules_on_random_series(tmp_path: Path) -> None:
    """Three hundred rules with their own series each; all states are seen often, and most instants are compared."""
    dice = random.Random(11)  # noqa: S311  repeatable, nothing secret
    alerts = [Alert(f"A{index}", *scenario(dice)) for index in range(COUNT)]
    seen = compared(tmp_path, alerts, LENGTH * MINUTE)
    assert seen.total() > 0.8 * COUNT * LENGTH
    assert min(seen[state] for state in (State.NORMAL, State.PENDING, State.FIRING, State.RECOVERING)) > 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_rules_of_the_files(path: Path, tmp_path: Path) -> None:
    """The series of tests/rules under the rules in force there, without the evidence that they ask for."""
    case = case_of(read(str(path)), BUILT_IN, PROFILES)
    alerts = [
        Alert(f"A{index}", rule, case.given)
        for index, rule in enumerate(case.rules)
        if _expressible(rule, case.given) and not _seldom_known(Alert("A", rule, case.given))
    ]
    until = min(max(each.at for each in case.expected), 100 * case.given.interval)
    assert compared(tmp_path, alerts, until).total() > 30


def _expressible(rule: Rule, given: Given) -> bool:
    """Leave out quantiles of counts, and baselines that are not given."""
    names = {name for name, _ in given.values}
    of_counts = [metric for metric in rule.metrics.values() if metric.name not in names]
    lacks = "baseline" in rule.text and not rule.metrics.keys() <= given.baselines.declared.keys()
    return not lacks and not any(isinstance(metric.formula, Quantile) for metric in of_counts)


def _seldom_known(alert: Alert) -> bool:
    return not states(alert, 20 * alert.given.interval)


def test_a_difference_is_noticed(tmp_path: Path) -> None:
    """The comparison can fail: a state that is not Prometheus' is told."""
    alert = Alert("A", compile_rule("rule", "error_rate > 5%"), Given(MINUTE, {("error_rate", None): (0.06,)}, {}))
    assert 'alertstate="firing"' in promtool(
        tmp_path, [alert], [expected_alerts(0 * MINUTE, {"A": State.NORMAL})], MINUTE
    )


def test_without_data_prometheus_resolves_and_we_wait(tmp_path: Path) -> None:
    """The difference that is meant: for Prometheus no data is calm, for us it is unknown and time stands still."""
    values = expand("0.06x3 stale 0.06x3")
    alert = Alert(
        "A", compile_rule("rule", "error_rate > 5%", for_="2m"), Given(MINUTE, {("error_rate", None): values}, {})
    )
    ours = [moment.state.value for moment in play((alert.rule,), alert.given, UNBOUNDED, until=7 * MINUTE)]
    assert ours == ["Pending", "Pending", "Firing", "Firing", "Unknown", "Firing", "Firing", "Firing"]
    theirs = [State.PENDING, State.PENDING, State.FIRING, State.FIRING, State.NORMAL, State.PENDING, State.PENDING]
    checks = [expected_alerts(at * MINUTE, {"A": state}) for at, state in enumerate([*theirs, State.FIRING])]
    assert promtool(tmp_path, [alert], checks, MINUTE) == ""


# --- made at random


def scenario(dice: random.Random) -> tuple[Rule, Given]:
    """Return a rule, and series that are around its thresholds."""
    rule, given = dice.choice([of_values, of_values, of_counts])(dice)
    hold, keep = dice.choice([0, 0, 1, 2, 5]), dice.choice([0, 0, 1, 3])
    return replace(rule, hold=hold * MINUTE, keep_firing_for=keep * MINUTE), given


def of_values(dice: random.Random) -> tuple[Rule, Given]:
    """One or two metrics in whole steps, so that thresholds are met exactly, too."""
    share = f"error_rate {_comparator(dice)} {dice.randrange(2, 8)}%"
    time = f"latency_avg {dice.choice(['', '* 2 ', '/ 2 ', '+ 1s '])}{_comparator(dice)} {dice.randrange(2, 6)}s"
    condition = dice.choice(
        [share, time, f"{share} and {time}", f"{share} or {time}", f"({share} or {time}) and {share}"]
    )
    values: dict[tuple[str, timedelta | None], Series] = {
        ("error_rate", None): walk(dice, step=0.01, gaps=dice.random() < 0.2),
        ("latency_avg", None): walk(dice, step=1.0, gaps=False),
    }
    return compile_rule("rule", condition), Given(MINUTE, values, {})


def of_counts(dice: random.Random) -> tuple[Rule, Given]:
    """Counters that begin anew together now and then; thresholds that no quotient meets exactly."""
    requests, errors = [float(dice.choice([0, 500]))], [0.0]
    for _ in range(LENGTH):
        more, anew = dice.randrange(10, 40), dice.random() < 0.05
        requests.append((0.0 if anew else requests[-1]) + more)
        errors.append((0.0 if anew else errors[-1]) + dice.randrange(more // 2) * (dice.random() < 0.7))
    missing = {index for index in range(LENGTH) if dice.random() < 0.05}
    counts = {
        quantity: tuple(None if index in missing else value for index, value in enumerate(series))
        for quantity, series in ((Quantity.REQUESTS, requests), (Quantity.ERRORS, errors))
    }
    condition = dice.choice(
        [
            f"error_rate > {dice.randrange(5, 30)}.37%",
            f"success_rate < {dice.randrange(70, 95)}.37%",
            f"execution_count > {dice.randrange(80, 150)}.37",
            f"error_rate[5m] > {dice.randrange(5, 20)}.37% and error_rate[15m] > {dice.randrange(5, 20)}.37%",
            f"failure_count[10m] + 7 > execution_count / {dice.randrange(2, 6)}.37",
        ]
    )
    return compile_rule("rule", condition), Given(MINUTE, {}, counts)


def _comparator(dice: random.Random) -> str:
    return dice.choice([">", ">=", "<", "<=", ">", ">=", "==", "!="])


def walk(dice: random.Random, *, step: float, gaps: bool) -> Series:
    """Return a series in promtool's shorthand, expanded: stretches that stay, climb or fall, from 1 to 9 steps high."""
    words: list[tuple[str, int]] = []
    while sum(length for _, length in words) < LENGTH + 1:
        level, length = dice.randrange(1, 10), dice.randrange(1, 8)
        slope = dice.choice(["", f"+{step}", f"-{step}" if level > length else ""])
        words.append((f"{level * step}{slope}x{length - 1}", length))
        if gaps and dice.random() < 0.2:
            words.append(("stale", 1))
    return expand(" ".join(word for word, _ in words))
