"""From the text of a condition to its checked syntax tree."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

from prompt_operator.core.rules.check import check
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.metrics import METRICS
from prompt_operator.core.rules.slower import canonical
from prompt_operator.core.rules.syntax import (
    All,
    Arithmetic,
    Baseline,
    Comparison,
    Condition,
    MetricRef,
    Number,
    Some,
    depth,
    number_text,
    to_text,
)
from prompt_operator.core.rules.syntax import comparisons as comparisons_of
from prompt_operator.core.rules.units import Dimension, parse_duration, parse_window, seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.core.rules.metrics import Metric
    from prompt_operator.core.rules.syntax import Comparator, Expression, Operator, Predicate

_GRAMMAR = r"""
// The language of conditions. `for` stands at the end only; there are no calls, strings, attributes or loops.

start: either ["for" NUMBER UNIT]

?either: both ("or" both)*         -> some
?both: predicate ("and" predicate)* -> every
?predicate: sum COMPARATOR sum     -> comparison
          | "(" either ")"

?sum: product
    | sum SUM_OPERATOR product     -> arithmetic
?product: atom
    | product PRODUCT_OPERATOR atom -> arithmetic
?atom: NUMBER                      -> number
     | NUMBER UNIT                 -> time
     | NUMBER "%"                  -> percentage
     | NAME                        -> metric
     | NAME "[" NUMBER UNIT "]"    -> metric
     | BASELINE                    -> baseline
     | "(" sum ")"

BASELINE: "baseline"
COMPARATOR: ">=" | "<=" | "==" | "!=" | ">" | "<"
SUM_OPERATOR: "+" | "-"
PRODUCT_OPERATOR: "*" | "/"
NUMBER: /[0-9]+(\.[0-9]+)?/
NAME: /[A-Za-z_][A-Za-z0-9_]*/
UNIT: /[A-Za-z_][A-Za-z0-9_]*/

%ignore /[ \t\r\n]+/
"""

WORDS = frozenset({"and", "or", "for", "baseline"})
"""Words of the language, which no metric can be called by."""
MAX_LENGTH = 512
MAX_DEPTH = 16
MAX_COMPARISONS = 8


def parse(text: str, catalogue: Mapping[str, Metric] = METRICS) -> Condition:
    """Parse and check a condition; RuleError says at which column it fails, why, and what to write instead.

    `catalogue` holds every metric that it may name, by name.
    """
    if len(text) > MAX_LENGTH:
        raise RuleError(f"the condition has {len(text)} characters, at most {MAX_LENGTH} are allowed", MAX_LENGTH + 1)
    if not text.strip():
        raise RuleError("the condition is empty: write for example error_rate > 5%", 1)
    try:
        condition = cast("Condition", _parser().parse(text))
    except UnexpectedInput as error:
        raise _syntax_error(error, text) from None
    _limit(condition.predicate)
    check(condition.predicate, catalogue)
    if len(to_text(condition)) > MAX_LENGTH:
        raise RuleError(
            f"the condition is longer than {MAX_LENGTH} characters when written out: split it into rules", 1
        )
    return condition


def _limit(predicate: Predicate) -> None:
    found = list(comparisons_of(predicate))
    if len(found) > MAX_COMPARISONS:
        raise RuleError(
            f"the condition has {len(found)} comparisons, at most {MAX_COMPARISONS} are allowed: split it into rules",
            found[MAX_COMPARISONS].column,
        )
    if depth(predicate) > MAX_DEPTH:
        raise RuleError(f"the condition is nested deeper than {MAX_DEPTH} levels: split it into rules", 1)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Builder())


def _column(token: Token) -> int:
    return token.column or 0


def _start(node: Any) -> int:
    """Return the column of the leftmost leaf."""
    while isinstance(node, Arithmetic):
        node = node.left
    return int(node.column)


@v_args(inline=True)
class _Builder(Transformer[Token, Condition]):
    """Builds the tree while lark reduces, bottom up: no recursion, whatever the text."""

    def start(self, predicate: Predicate, number: Token | None = None, unit: Token | None = None) -> Condition:
        if number is None or unit is None:
            return Condition(predicate)
        return Condition(predicate, parse_duration(f"{number}{unit}", _column(number)))

    def some(self, *terms: Predicate) -> Predicate:
        return _joined(Some, terms)

    def every(self, *terms: Predicate) -> Predicate:
        return _joined(All, terms)

    def comparison(self, left: Expression, comparator: Token, right: Expression) -> Comparison:
        return Comparison(cast("Comparator", str(comparator)), left, right, _start(left))

    def arithmetic(self, left: Expression, operator: Token, right: Expression) -> Arithmetic:
        return Arithmetic(cast("Operator", str(operator)), left, right, _column(operator))

    def number(self, number: Token) -> Number:
        return _literal(Decimal(number), Dimension.NUMBER, number)

    def time(self, number: Token, unit: Token) -> Number:
        return _literal(seconds_of(number, unit, _column(unit)), Dimension.TIME, number)

    def percentage(self, number: Token) -> Number:
        return _literal(Decimal(number) / 100, Dimension.RATIO, number)

    def metric(self, name: Token, number: Token | None = None, unit: Token | None = None) -> MetricRef:
        window = None if number is None else parse_window(f"{number}{unit}", _column(number))
        return MetricRef(canonical(str(name)), window, _column(name))

    def baseline(self, token: Token) -> Baseline:
        return Baseline(_column(token))


def _joined(kind: type[All | Some], terms: tuple[Predicate, ...]) -> Predicate:
    """Join terms, taking nested ones of the same kind apart: brackets that change nothing leave no trace."""
    flat = [part for term in terms for part in (term.terms if isinstance(term, kind) else (term,))]
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


_MAX_DIGITS = 16


def _literal(value: Decimal, dimension: Dimension, token: Token) -> Number:
    """Bound a literal as it is written and in the normal form, so that it stays finite and reads back."""
    number = Number(float(value), dimension, _column(token)) if len(token) <= _MAX_DIGITS else None
    if number is None or len(number_text(number).rstrip("ms%")) > _MAX_DIGITS:
        raise RuleError(f"a number may have at most {_MAX_DIGITS} digits, also in seconds", _column(token))
    return number


_EXPECTED = {
    "COMPARATOR": "a comparison (> >= < <= == !=)",
    "NUMBER": "a number",
    "NAME": "a metric",
    "UNIT": "a unit of time (ms s m h d)",
    "RPAR": "')'",
    "RSQB": "']'",
    "AND": "'and'",
    "OR": "'or'",
    "FOR": "'for'",
    "$END": "the end",
}


_INSTEAD = {
    "=": "compare with ==",
    "&": "write and",
    "|": "write or",
    ".": "a point has digits on both sides, as in 0.5",
    ",": "write numbers without it",
}


def _syntax_error(error: UnexpectedInput, text: str) -> RuleError:
    if isinstance(error, UnexpectedCharacters):
        return _strange_character(error, text)
    if isinstance(error, UnexpectedToken):
        return RuleError(*_strange_token(error, text))
    return RuleError("the condition cannot be read", 1)


def _strange_character(error: UnexpectedCharacters, text: str) -> RuleError:
    character = text[error.pos_in_stream or 0]
    hint = _INSTEAD.get(character, "write for example error_rate > 5% and execution_count > 100")
    code = f"U+{ord(character):04X}"
    shown = f"'{character}'" + ("" if character.isascii() else f" ({code})") if character.isprintable() else code
    return RuleError(f"{shown} has no meaning here: {hint}", (error.pos_in_stream or 0) + 1)


def _strange_token(error: UnexpectedToken, text: str) -> tuple[str, int]:
    token: Token = error.token
    expected = [meaning for name, meaning in _EXPECTED.items() if name in error.accepts]
    wanted = f"expected {_listed(expected)}" if expected else "write for example error_rate > 5% for 5m"
    if token.type == "$END":
        return f"the condition ends too early: {wanted}", len(text.rstrip()) + 1
    if token.lower() in WORDS and token not in WORDS:
        wanted = f"did you mean {token.lower()}?"
    return f"'{token}' is not expected here: {wanted}", (token.start_pos or 0) + 1


def _listed(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
