"""Values as people write them: read, with the exactness in which they are written."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.units import Dimension, seconds_of

if TYPE_CHECKING:
    from prompt_operator.core.rules.metrics import Metric

_ROUNDING = 1e-9
_EXAMPLES = {Dimension.RATIO: "9%", Dimension.TIME: "1.2s", Dimension.COST: "0.01"}


@dataclass(frozen=True, slots=True)
class Written:
    """A value as a person wrote it: `9%` means from 8.5% to 9.5%, `9.0%` from 8.95% to 9.05%."""

    text: str
    value: float
    """In base units."""
    half: float
    """Half of the last digit that is written, in base units."""

    def says(self, measured: float) -> bool:
        """Tell whether the measured value rounds to the written one."""
        return abs(measured - self.value) <= self.half * (1 + _ROUNDING) + abs(self.value) * _ROUNDING


def read_value(metric: Metric, text: str) -> Written:
    """Read a value of a metric (`9%` or `0.09`, `1.2s`, `640ms`, `$0.01`, `200`); RuleError for anything else."""
    plain = text.strip().removeprefix("$")
    number = plain.rstrip("abcdefghijklmnopqrstuvwxyz%")
    whole, _, decimals = number.partition(".")
    digits = f"{whole}{decimals}"
    if not (whole and digits.isascii() and digits.isdigit()) or number.endswith("."):
        raise RuleError(f"'{text}' is no value of {metric.name}: write {_EXAMPLES.get(metric.dimension, '200')}")
    scale = _scale(metric, number, plain[len(number) :])
    last = Decimal(1).scaleb(-len(decimals))
    return Written(text, float(Decimal(number) * scale), float(last * scale / 2))


def _scale(metric: Metric, number: str, unit: str) -> Decimal:
    """Return what the written unit is in base units."""
    if metric.dimension is Dimension.TIME:
        if not unit:
            raise RuleError(f"a time needs a unit: did you mean {number}s?")
        return seconds_of("1", unit)
    if metric.dimension is Dimension.RATIO and unit == "%":
        return Decimal("0.01")
    if metric.dimension is Dimension.RATIO and not unit and float(number) > 1:
        raise RuleError(f"a share is between 0% and 100%: did you mean {number}%?")
    if unit:
        raise RuleError(f"{metric.name} is {metric.dimension.value}: write it without '{unit}'")
    return Decimal(1)
