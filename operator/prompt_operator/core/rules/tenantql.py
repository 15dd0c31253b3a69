"""PromQL that a tenant wrote, read by a parser, held against what is known to be harmless, and written anew.

Nothing of the tenant's text reaches Prometheus: the query is printed from the syntax tree, node by node, and every
selector gets a matcher for the tenant's own namespace on the way. What is not on a list here is refused.
docs/decisions/custom-metrics-confined.md says why each list is as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

import promql_parser as ast

from prompt_operator.core.rules.errors import RuleError, did_you_mean
from prompt_operator.core.rules.selectors import name, one_of, quoted, selector
from prompt_operator.core.rules.units import format_window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prompt_operator.core.rules.profile import IdentityLabels

MAX_LENGTH = 1024
"""As the API has it."""
MAX_SELECTORS = 8
_MAX_SIGNS = 100
"""Brackets and operators: the parser's time grows with the square of them, and its stack with their depth."""


class Hole(Enum):
    """What is filled in when a query is asked."""

    BY = auto()
    """The identity labels of the profile in force."""
    WINDOW = auto()
    OWN = auto()
    """The matchers that confine a selector to the versions of the tenant's namespace."""


Part: TypeAlias = str | Hole


@dataclass(frozen=True, slots=True)
class Template:
    """A query that was checked, in pieces."""

    parts: tuple[Part, ...]

    def promql(
        self, identity: IdentityLabels, namespace: str, window: timedelta, *, prompt: str = "", version: str = ""
    ) -> str:
        """Return the query for one profile's identity labels, confined to a namespace, over a window.

        `prompt` and `version` confine it further; empty means any.
        """
        wanted = ((identity.prompt, prompt), (identity.version, version))
        some = ",".join(one_of(label, [value] if value else None) for label, value in wanted)
        fillings = {
            Hole.BY: ", ".join(map(name, (identity.namespace, identity.prompt, identity.version))),
            Hole.WINDOW: format_window(window),
            Hole.OWN: f"{name(identity.namespace)}={quoted(namespace)},{some}",
        }
        return "".join(part if isinstance(part, str) else fillings[part] for part in self.parts)


class Use(Enum):
    """What the query is for."""

    VALUE = auto()
    """It gives the value."""
    COUNT = auto()
    """It counts: a numerator or a denominator. Only what keeps a count a count is taken, since a bound rests on it."""


_OVER_TIME = {f"{how}_over_time" for how in ("avg", "min", "max", "sum", "count", "last", "quantile", "stddev")}
_LOGARITHMS = {"exp", "ln", "log2", "log10"}
_SHAPES = {"abs", "ceil", "floor", "round", "sgn", "sqrt", "clamp", "clamp_min", "clamp_max"} | _LOGARITHMS
_OF_BUCKETS = {"histogram_quantile", "histogram_fraction"}
_OF_HISTOGRAMS = {"histogram_count", "histogram_sum"}
_RANGED = {
    Use.VALUE: _OVER_TIME | {"increase", "rate", "delta", "deriv", "changes"},
    Use.COUNT: {"increase"},
}
_FUNCTIONS = {
    Use.VALUE: _RANGED[Use.VALUE] | _SHAPES | _OF_BUCKETS | _OF_HISTOGRAMS | {"histogram_avg"},
    Use.COUNT: _RANGED[Use.COUNT] | _OF_HISTOGRAMS,
}
_AGGREGATIONS = {
    Use.VALUE: {"sum", "avg", "min", "max", "count", "stddev", "quantile"},
    Use.COUNT: {"sum", "min", "max"},
}
_OPERATORS = {
    Use.VALUE: {"+", "-", "*", "/", "%", "^", "==", "!=", ">", ">=", "<", "<=", "and", "or", "unless"},
    Use.COUNT: {"+", "-", "*", "or"},
}

# While it is parsed, words that PromQL can read stand for $by and $window: a label nobody has, and a span nobody means.
_BY = "__prompt_identity__"
_WINDOW = timedelta(seconds=8_639_977)
_WINDOW_TEXT = f"{_WINDOW.total_seconds():.0f}s"


@lru_cache(maxsize=4096)
def read(text: str, use: Use = Use.VALUE) -> Template:
    """Read a query with `$by` and `$window`; RuleError says what is wrong with it and what to write instead."""
    if len(text) > MAX_LENGTH:
        raise RuleError(f"the query has {len(text)} characters, at most {MAX_LENGTH} are allowed", MAX_LENGTH + 1)
    if sum(map(text.count, "(+-*/%^=<>")) > _MAX_SIGNS:
        raise RuleError(f"the query has more than {_MAX_SIGNS} brackets and operators: make it a recording rule")
    if "`" in text:  # the parser reads escapes in raw strings, too, and so another pattern than was meant
        raise RuleError("strings stand in double or single quotes, not in back quotes", text.index("`") + 1)
    for word in (_BY, _WINDOW_TEXT):
        if word in text:
            raise RuleError(f"'{word}' is reserved", text.index(word) + 1)
    tree = _parsed(text)
    if not _is_grouped(tree):
        raise RuleError("the outermost operation must be grouped by prompt: write for example sum by ($by) (…)")
    writer = _Writer(text, use)
    parts = tuple(writer.write(tree))
    if writer.selectors > MAX_SELECTORS:
        raise RuleError(f"the query reads {writer.selectors} series by name, at most {MAX_SELECTORS} are allowed")
    return Template(parts)


def _parsed(text: str) -> Any:
    try:
        return ast.parse(text.replace("$by", _BY).replace("$window", _WINDOW_TEXT))
    except ValueError as error:
        cause = str(error).replace(_BY, "$by").replace(_WINDOW_TEXT, "$window").strip()
        raise RuleError(f"not PromQL with $by and $window: {cause}") from None
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        # The parser panics over some spans (offset NaN); PyO3 makes no Exception of that, and gives it no public name.
        raise RuleError(f"not PromQL with $by and $window: {error}") from None


def _is_grouped(node: Any) -> bool:
    """Tell whether each element of the result is one version of one prompt, with no other labels."""
    match node:
        case ast.ParenExpr() | ast.UnaryExpr():
            return _is_grouped(node.expr)
        case ast.AggregateExpr():
            return _labels(node) == [_BY]
        case ast.BinaryExpr():
            grouped = [_is_grouped(side) for side in (node.lhs, node.rhs) if not _is_constant(side)]
            return bool(grouped) and all(grouped)
        case ast.Call():
            vectors = [argument for argument in node.args if not _is_constant(argument)]
            return len(vectors) == 1 and (_is_grouped(vectors[0]) or _is_by_bucket(node, vectors[0]))
    return False


def _is_constant(node: Any) -> bool:
    match node:
        case ast.ParenExpr() | ast.UnaryExpr():
            return _is_constant(node.expr)
        case ast.BinaryExpr():
            return _is_constant(node.lhs) and _is_constant(node.rhs)
    return isinstance(node, ast.NumberLiteral)


def _is_by_bucket(call: Any, argument: Any) -> bool:
    """Tell whether this makes one value of the buckets of each version."""
    aggregated = call.func.name in _OF_BUCKETS and isinstance(argument, ast.AggregateExpr)
    return aggregated and sorted(_labels(argument)) == sorted([_BY, "le"])


def _labels(node: Any) -> list[str]:
    """Return the labels an aggregation groups by; none for `without`."""
    by = node.modifier is not None and node.modifier.type == ast.AggModifierType.By
    return list(node.modifier.labels) if by else []


class _Writer:
    """Prints a syntax tree. Every operand stands in brackets, so that no rule of precedence has to be shared."""

    def __init__(self, text: str, use: Use) -> None:
        self._text, self._use = text, use
        self.selectors = 0

    def write(self, node: Any) -> Iterator[Part]:
        """Yield the pieces; RuleError for the first thing that is not on a list."""
        match node:
            case ast.NumberLiteral(val=value):
                yield self._number(value)
            case ast.ParenExpr(expr=inner):
                yield from self.write(inner)
            case ast.UnaryExpr(expr=inner):
                yield from ("-", *self._bracketed(inner))
            case ast.BinaryExpr():
                yield from self._binary(node)
            case ast.AggregateExpr():
                yield from self._aggregation(node)
            case ast.Call():
                yield from self._call(node)
            case ast.VectorSelector():
                if self._use is Use.COUNT:
                    raise self._error("a counter never begins anew: write increase(…[$window])", node.name or "")
                yield from self._selector(node)
            case ast.SubqueryExpr():
                raise self._error("a subquery is not offered: make it a recording rule", ":")
            case _:
                raise RuleError("a string or a bare range is not offered here")

    def _bracketed(self, node: Any) -> Iterator[Part]:
        yield from ("(", *self.write(node), ")")

    def _number(self, value: float) -> str:
        if value == _WINDOW.total_seconds():
            raise self._error("$window stands for a range only: write it as [$window]", "$window")
        if not isfinite(value):
            raise RuleError("a number must be finite")
        text = repr(value).removesuffix(".0")
        return f"({text})" if value < 0 else text

    def _binary(self, node: Any) -> Iterator[Part]:
        operator, modifier = str(node.op), node.modifier
        self._listed("operator", operator, _OPERATORS)
        if modifier is not None and (modifier.matching is not None or modifier.group_labels):
            raise self._error("on, ignoring and group_ are not offered: group both sides by the same labels", operator)
        if modifier is not None and (modifier.fill_values.lhs, modifier.fill_values.rhs) != (None, None):
            raise self._error("fill is not offered: write … or 0 * …", "fill")
        if self._use is Use.COUNT and operator == "*" and not (_is_zero(node.lhs) or _is_zero(node.rhs)):
            raise self._error("a count may be multiplied by 0 only, as in … or 0 * …", operator)
        boolean = " bool" if modifier is not None and modifier.return_bool else ""
        yield from (*self._bracketed(node.lhs), f" {operator}{boolean} ", *self._bracketed(node.rhs))

    def _aggregation(self, node: Any) -> Iterator[Part]:
        operation, labels = str(node.op), _labels(node)
        self._listed("aggregation", operation, _AGGREGATIONS)
        if _BY not in labels:
            raise self._error(f"{operation} must be grouped by prompt: write {operation} by ($by) (…)", operation)
        self._check_labels(labels)
        others = [name(label) for label in labels if label != _BY]
        parameter = [*self.write(node.param), ", "] if node.param is not None else []
        self._check_words([label for label in labels if label != _BY])
        yield from (f"{operation} by (", Hole.BY, *(f", {label}" for label in others), ") (", *parameter)
        yield from (*self.write(node.expr), ")")

    def _call(self, node: Any) -> Iterator[Part]:
        function = node.func.name
        self._listed("function", function, _FUNCTIONS)
        yield f"{function}("
        for position, argument in enumerate(node.args):
            yield from [", "] if position else []
            ranged = isinstance(argument, ast.MatrixSelector) and function in _RANGED[self._use]
            yield from self._range(argument) if ranged else self.write(argument)
        yield ")"

    def _range(self, node: Any) -> Iterator[Part]:
        if node.range != _WINDOW:
            raise self._error("a range is always [$window]: the rule says how long that is", "[")
        yield from (*self._selector(node.vector_selector), "[", Hole.WINDOW, "]")

    def _selector(self, node: Any) -> Iterator[Part]:
        self.selectors += 1
        if node.offset is not None or node.at is not None:
            raise self._error("offset and @ are not offered: a verdict speaks of now", "offset", "@")
        if node.matchers.or_matchers:
            raise self._error("or between matchers is not offered: write =~", " or ")
        named = [each for each in node.matchers.matchers if each.name == "__name__"]
        matchers = [each for each in node.matchers.matchers if each.name != "__name__"]
        metric = node.name or (named[0].value if [each.op for each in named] == [ast.MatchOp.Equal] else "")
        if not metric or (node.name and named):
            raise self._error("a selector names exactly one metric, by its name and not by a pattern", "__name__", "{")
        self._check_labels([each.name for each in matchers])
        self._check_words([metric, *(word for each in matchers for word in (each.name, each.value))])
        before, after = selector(metric, ["\0", *map(_matcher, matchers)]).split("\0")
        yield from (before, Hole.OWN, after)

    def _check_labels(self, labels: list[str]) -> None:
        """Refuse a name that Prometheus would refuse, too, at every tick."""
        if not all(labels):
            raise self._error("a label has a name", '""', "''")

    def _check_words(self, words: list[str]) -> None:
        """Refuse `$by` and `$window` anywhere but in their places."""
        for word in words:
            if _BY in word or _WINDOW_TEXT in word:
                raise self._error("$by stands in by (…) only, $window in […] only", "$by", "$window")
            if "\0" in word:
                raise RuleError("a name or value holds a NUL character")

    def _listed(self, kind: str, word: str, lists: dict[Use, set[str]]) -> None:
        if word in lists[self._use]:
            return
        if word in lists[Use.VALUE]:
            raise self._error(f"{kind} {word} does not keep a count a count: write increase(…[$window])", word)
        raise self._error(f"{kind} {word} is not offered: {did_you_mean(word, lists[self._use])}", word)

    def _error(self, message: str, *words: str) -> RuleError:
        """Point at the first of these words that stands in the text just once; the parser tells no positions."""
        found = (self._text.find(word) for word in words if word and self._text.count(word) == 1)
        return RuleError(message, next(found, -1) + 1)


_OPS = ((ast.MatchOp.Equal, "="), (ast.MatchOp.NotEqual, "!="), (ast.MatchOp.Re, "=~"), (ast.MatchOp.NotRe, "!~"))


def _matcher(each: Any) -> str:
    return f"{name(each.name)}{next(text for op, text in _OPS if op == each.op)}{quoted(each.value)}"


def _is_zero(node: Any) -> bool:
    return isinstance(node, ast.NumberLiteral) and node.val == 0
