"""What is fuzzed: each target takes any bytes and may refuse them only with the error that its function promises."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from math import inf
from typing import TYPE_CHECKING

import promql_parser

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.cli.errors import BadFile
from prompt_operator.cli.testrules import testfile
from prompt_operator.cli.testrules.case import BUILT_IN, case_of
from prompt_operator.core.rules import tenantql
from prompt_operator.core.rules.baseline import of_values
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.futile import unreachable
from prompt_operator.core.rules.grammar import parse
from prompt_operator.core.rules.measure import Amount, Histogram, needs
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.profile import IdentityLabels, parse_profile
from prompt_operator.core.rules.syntax import to_text
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prompt_operator.core.rules.measure import Measured
    from prompt_operator.core.rules.profile import Profile


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def condition(data: bytes) -> None:
    """Any text is a condition whose normal form is its own, or a RuleError whose column lies in it."""
    text = _text(data)
    try:
        parsed = parse(text)
    except RuleError as error:
        _refused(error)
        if not 1 <= error.column <= len(text) + 1:
            raise AssertionError(f"column {error.column} is not in {text!r}") from error
        return
    normal = to_text(parsed)
    assert parse(normal) == parsed, (text, normal)
    assert to_text(parse(normal)) == normal, (text, normal)


_HUNDRED: Measured = Amount(100.0)
_BUCKETS: Measured = Histogram(((1.0, 50.0), (10.0, 90.0), (inf, 100.0)))
"""A tenth lies in the last bucket, so the p95 is not known."""


def rule(data: bytes) -> None:
    """Any four fields, a line each, are a rule that can be judged, on nothing and on something, or a RuleError."""
    condition_, window, hold, keep, *_ = [*_text(data).split("\n"), *[""] * 4]
    try:
        compiled = compile_rule(
            "fuzzed", condition_, window=window or None, for_=hold or None, keep_firing_for=keep or None
        )
    except RuleError as error:
        _refused(error)
        return
    asked = needs(compiled)
    assert asked
    something = {need: _BUCKETS if need.quantity is Quantity.LATENCY_BUCKETS else _HUNDRED for need in asked}
    normal = of_values(dict.fromkeys(compiled.metrics, 2.0))
    for measured in ({}, something):
        told, untold = (
            judge(compiled, measured, normal, min_samples=1, confidence=0.9999, told=told) for told in (True, False)
        )
        assert told.message
        assert (told.verdict, told.because) == (untold.verdict, untold.because)
    for each in _profiles().values():
        assert all(unreachable(compiled, each))


def profile(data: bytes) -> None:
    """Any text is a profile, or a ValueError says what is wrong with it."""
    try:
        parse_profile(_text(data))
    except ValueError as error:
        _refused(error)


def scenario(data: bytes) -> None:
    """Any text is a file of rule tests, or a BadFile says what is wrong with it; nothing is played."""
    try:
        case_of(testfile.parse("fuzzed.yaml", _text(data)), BUILT_IN, _profiles())
    except BadFile as error:
        _refused(error)


_NATIVE = IdentityLabels(namespace="prompt_namespace", prompt="prompt", version="version")


def custom(data: bytes) -> None:
    """Any text is a query whose selectors are all confined to the namespace of its policy, or a RuleError."""
    for use in tenantql.Use:
        try:
            template = tenantql.read(_text(data), use)
        except RuleError as error:
            _refused(error)
            continue
        query = template.promql(_NATIVE, "shop", timedelta(minutes=5))
        promql_parser.walk(promql_parser.parse(query), _confined)


def _confined(node: promql_parser.Expr) -> None:
    if isinstance(node, promql_parser.VectorSelector):
        found = [(each.name, each.op, each.value) for each in node.matchers.matchers]
        assert ("prompt_namespace", promql_parser.MatchOp.Equal, "shop") in found, found
        assert (node.matchers.or_matchers, node.offset, node.at) == ([], None, None)


@cache
def _profiles() -> Mapping[str, Profile]:
    return load_profiles()


def _refused(error: Exception) -> None:
    if not str(error):
        raise AssertionError("refused without a word") from error


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "condition": condition,
    "rule": rule,
    "profile": profile,
    "scenario": scenario,
    "custom": custom,
}
"""Name -> what is done with the bytes."""
