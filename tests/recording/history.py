"""Eight days of one version's traffic: as the samples Prometheus would have scraped, and as the truth."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from math import exp
from statistics import NormalDist
from typing import TYPE_CHECKING

from prompt_client.metrics import DURATION_BUCKETS, FEEDBACK_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 8
SECONDS = DAYS * 86400
COARSE, FINE, FINE_FOR = 60, 15, 7200
"""Seconds between scrapes, finer within the last two hours."""
STEADY_FOR = 5400
"""Within the last seconds requests come evenly, so that one minute of them is no matter of luck."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request, answered."""

    at: float
    """Seconds since the beginning."""
    failed: bool
    seconds: float
    tokens: tuple[int, int]
    cost: float
    feedback: int | None
    automated: float | None
    delta: float | None


def answers(seed: int) -> list[Answer]:
    """Return what happened: by day more than by night, worse in the users' eyes during the last 24 hours."""
    dice, at, happened = random.Random(seed), 0.0, list[Answer]()  # noqa: S311
    while True:
        steady = at > SECONDS - STEADY_FOR
        by_day = 8 <= at % 86400 / 3600 < 20
        at += 0.5 if steady else dice.expovariate(0.4 if by_day else 0.05)
        if at > SECONDS:
            return happened
        happened.append(_answer(dice, at, len(happened)))


def _answer(dice: random.Random, at: float, number: int) -> Answer:
    """Whatever is said of it repeats every 30 answers, which is what the steady end brings between two scrapes."""
    bad = at > SECONDS - 86400
    latency = NormalDist().inv_cdf((number * 7 % 30 + 0.5) / 30) if at > SECONDS - STEADY_FOR else dice.gauss()
    return Answer(
        at=at,
        failed=number % 10 == 0,
        seconds=exp(0.5 + 0.6 * latency),
        tokens=(200 + number % 15, 80 + number % 30),
        cost=0.002 + number % 6 * 0.0001,
        feedback=(1 if bad else 3) + number // 2 % 3 if number % 2 == 0 else None,
        automated=6.0 + number // 3 % 5 if number % 3 == 0 else None,
        delta=0.5 * (number // 3 % 5) if number % 3 == 1 else None,
    )


def truth(happened: list[Answer], window: float, ago: float = 0.0) -> dict[str, float]:
    """Return every metric of the language over so many seconds, which ended some seconds `ago`, in its base unit."""
    first, last = (bisect_right(happened, SECONDS - ago - back, key=lambda one: one.at) for back in (window, 0.0))
    recent = happened[first:last]
    count, failed = len(recent), sum(one.failed for one in recent)
    tokens_in, tokens_out = (sum(one.tokens[which] for one in recent) for which in (0, 1))
    cost, feedback = sum(one.cost for one in recent), [one.feedback for one in recent if one.feedback is not None]
    return {
        "execution_count": count,
        "success_count": count - failed,
        "failure_count": failed,
        "error_rate": failed / count,
        "success_rate": 1 - failed / count,
        "latency_avg": sum(one.seconds for one in recent) / count,
        "tokens_avg": (tokens_in + tokens_out) / count,
        "tokens_input_avg": tokens_in / count,
        "tokens_output_avg": tokens_out / count,
        "tokens_total": tokens_in + tokens_out,
        "cost_avg": cost / count,
        "cost_total": cost,
        "avg_user_feedback": sum(feedback) / len(feedback),
        "user_feedback_negative_rate": sum(score <= 2 for score in feedback) / len(feedback),
        "feedback_count": len(feedback),
        "avg_automated_score": _mean([one.automated for one in recent if one.automated is not None]),
        "avg_calibration_delta": _mean([one.delta for one in recent if one.delta is not None]),
        **{f"latency_p{q}": _quantile([one.seconds for one in recent], q / 100) for q in (50, 95, 99)},
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _quantile(values: list[float], q: float) -> float:
    """Return the true quantile; a histogram can only say in which bucket it lies."""
    return sorted(values)[int(q * len(values))]


def open_metrics(happened: list[Answer], began: int, identity: str) -> Iterator[str]:
    """Yield the lines of an OpenMetrics file with every scrape of every series.

    Args:
        happened: in order of time.
        began: Unix time of the beginning.
        identity: labels of the version, as text.
    """
    counters = defaultdict[str, float](float, dict.fromkeys(_names(identity), 0.0))
    waiting = iter([*happened, None])
    following = next(waiting)
    for scrape in _scrapes():
        while following is not None and following.at <= scrape:
            _count(counters, following, identity)
            following = next(waiting)
        for name, value in counters.items():
            yield f"{name} {value!r} {began + scrape}\n"
    yield "# EOF\n"


def _scrapes() -> Iterator[int]:
    yield from range(0, SECONDS - FINE_FOR, COARSE)
    yield from range(SECONDS - FINE_FOR, SECONDS + 1, FINE)


def _names(identity: str) -> list[str]:
    """Return the series that prompt_client makes at 0 when a version is first served."""
    return [f'llm_prompt_requests_total{{{identity},outcome="{outcome}"}}' for outcome in ("success", "error")]


def _count(counters: dict[str, float], one: Answer, identity: str) -> None:
    counters[f'llm_prompt_requests_total{{{identity},outcome="{"error" if one.failed else "success"}"}}'] += 1
    for kind, tokens in zip(("input", "output"), one.tokens, strict=True):
        counters[f'llm_prompt_tokens_total{{{identity},type="{kind}"}}'] += tokens
    counters[f"llm_prompt_cost_usd_total{{{identity}}}"] += one.cost
    _observe(counters, "llm_prompt_request_duration_seconds", identity, one.seconds, DURATION_BUCKETS)
    for name, value, bounds in (
        ("feedback_score", one.feedback, FEEDBACK_BUCKETS),
        ("automated_score", one.automated, ()),
        ("calibration_abs_delta", one.delta, ()),
    ):
        if value is not None:
            _observe(counters, f"llm_prompt_{name}", identity, value, bounds)


def _observe(counters: dict[str, float], name: str, identity: str, value: float, bounds: tuple[float, ...]) -> None:
    counters[f"{name}_sum{{{identity}}}"] += value
    counters[f"{name}_count{{{identity}}}"] += 1
    for bound in (*bounds, float("inf")):
        counters[f'{name}_bucket{{{identity},le="{"+Inf" if bound == float("inf") else float(bound)}"}}'] += (
            value <= bound
        )
