"""Whom the rule clock asks about together, and that every prompt is judged by the answer it is in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.core.builders import V1, a_policy
from tests.engine.test_ruleclock import Bench
from tests.engine.world import Metrics

from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.engine import inquiry
from prompt_operator.engine.store import Name
from prompt_operator.ports import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pytest

_ONE_OF = re.compile(r'(prompt_namespace|prompt)=~?"([^"]*)"')


@dataclass
class Several(Metrics):
    """A Prometheus that knows these prompts, each with as many requests, and keeps to the matchers it is given."""

    prompts: list[Name] = field(default_factory=list)
    matched: list[dict[str, str]] = field(default_factory=list)

    async def query(self, promql: str, at: datetime) -> Sequence[Sample]:
        """Answer for the prompts that the matchers let through."""
        wanted = dict(_ONE_OF.findall(promql))
        self.matched.append(wanted)
        if "llm_prompt_requests_total" not in promql or 'outcome="error"' in promql:
            return await super().query(promql, at) if "sum_over_time" in promql else []
        return [
            Sample({"prompt_namespace": each.namespace, "prompt": each.name, "version": V1}, 100.0)
            for each in self.prompts
            if _fits(wanted, "prompt_namespace", each.namespace) and _fits(wanted, "prompt", each.name)
        ]


def _fits(wanted: dict[str, str], label: str, value: str) -> bool:
    return not wanted.get(label) or value in wanted[label].split("|")


def judged(prompts: list[Name], monkeypatch: pytest.MonkeyPatch) -> Several:
    """Judge prompts in shards of four, and see that each was."""
    monkeypatch.setattr(inquiry, "SHARD", 4)
    bench = Bench()
    metrics = bench.metrics = Several(prompts=prompts)
    bench.rebuild()
    for name in prompts:
        bench.rules.watch(name, V1, None, a_policy(), Baselines(), ())
    bench.tick(minutes=3)
    readings = [bench.rules.readings(name) for name in prompts]
    assert all(each is not None and each.traffic for each in readings)
    return metrics


def test_few_prompts_are_asked_about_without_naming_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as one shard holds all, no namespace and no prompt is named."""
    metrics = judged([Name(f"ns-{number}", "bot") for number in range(4)], monkeypatch)
    assert metrics.matched
    assert not any(metrics.matched)


def test_many_prompts_are_asked_about_by_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more, each shard names its namespaces, and no namespace is in two of them."""
    metrics = judged([Name(f"ns-{number % 5}", f"bot-{number}") for number in range(10)], monkeypatch)
    shards = {each["prompt_namespace"] for each in metrics.matched}
    named = [namespace for shard in shards for namespace in shard.split("|")]
    assert sorted(named) == [f"ns-{number}" for number in range(5)]
    assert not any("prompt" in each for each in metrics.matched)


def test_a_large_namespace_is_asked_about_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace with too many prompts for one answer is asked about by names of prompts, each of them once."""
    metrics = judged([Name("one", f"bot-{number}") for number in range(14)], monkeypatch)
    parts = {each["prompt"] for each in metrics.matched}
    assert len(parts) > 1
    assert sorted(name for part in parts for name in part.split("|")) == sorted(f"bot-{n}" for n in range(14))
