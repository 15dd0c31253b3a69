"""The files of tests/rules, which are files of `kubectl prompt test-rules`, and what of it files cannot show."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.cli.testrules.case import BUILT_IN, case_of
from prompt_operator.cli.testrules.testfile import read
from prompt_operator.core.policy import BUILT_IN_RULES
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.scenario import Evidence, Given, differences, play

FILES = sorted((Path(__file__).parents[2] / "rules").glob("*.yaml"))
PROFILES = load_profiles()
MINUTE = timedelta(minutes=1)
EVIDENCE = Evidence(min_samples=20, alert_confidence=0.95, rollback_confidence=0.999, profile=PROFILES["native"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """Every expectation of the file comes true."""
    case = case_of(read(str(path)), BUILT_IN, PROFILES)
    assert differences(case.rules, case.given, case.evidence, case.expected) == ()


def test_every_built_in_rule_is_seen_quiet_and_firing() -> None:
    """The files together show each rule that is shipped in both states."""
    cases = [case_of(read(str(path)), BUILT_IN, PROFILES) for path in FILES]
    shown = {(each.rule, each.state.value) for case in cases for each in case.expected}
    assert shown >= {(rule.name, state) for rule in BUILT_IN_RULES for state in ("Normal", "Firing")}


def test_a_value_that_is_given_needs_no_evidence() -> None:
    """A share of 6 % is beyond 5 % at every confidence: nothing bounds a value that is given."""
    rule = compile_rule("rule", "error_rate > 5%", actions=["Rollback"])
    given = Given(MINUTE, {("error_rate", None): (0.06,)}, {})
    (moment,) = play((rule,), given, EVIDENCE, until=timedelta(0))
    assert moment.rolls_back
    assert moment.judgement.message == "error_rate 6.0% (in 5m) > 5%"


def test_errors_without_a_series_are_what_the_profile_says() -> None:
    """Of the profile native, absent errors are none at all; of another one they may be anything."""
    rule = compile_rule("rule", "error_rate > 5%")
    requests = tuple(100.0 * index for index in range(7))
    given = Given(MINUTE, {}, {Quantity.REQUESTS: requests})
    *_, last = play((rule,), given, EVIDENCE, until=6 * MINUTE)
    assert last.value == 0.0
    strict = PROFILES["native"].quantities | {Quantity.ERRORS: PROFILES["native"].quantities[Quantity.REQUESTS]}
    other = PROFILES["native"].model_copy(update={"quantities": strict})
    evidence = Evidence(20, 0.95, 0.999, other)
    *_, last = play((rule,), given, evidence, until=6 * MINUTE)
    assert last.judgement.because is Reason.NO_DATA
