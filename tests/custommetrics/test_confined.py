"""What a tenant asks of a real Prometheus does not depend on the series of another, and means what was written."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from tests.core.rules.hostile import CONFINED
from tests.custommetrics.conftest import END

from prompt_operator.core.rules.profile import IdentityLabels
from prompt_operator.core.rules.tenantql import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.custommetrics.conftest import Filled

    from devcluster.prometheus import Prometheus

NATIVE = IdentityLabels(namespace="prompt_namespace", prompt="prompt", version="version")
WINDOW = timedelta(minutes=10)
BY = "prompt_namespace, prompt, version"


def of(tenant: str, factor: float) -> dict[str, float]:
    """The series of a tenant; the same names, prompts and versions for each."""
    labels = f'prompt_namespace="{tenant}",prompt="bot",version="1.0.0",job="x"'
    buckets = {
        f'secret_bucket{{{labels},le="{bound}"}}': n * factor for bound, n in (("1.0", 3), ("5.0", 6), ("+Inf", 6))
    }
    return {f"secret{{{labels}}}": 2 * factor, f"own{{{labels}}}": 5 * factor, **buckets}


@pytest.fixture(scope="module")
def alone(filled: Filled) -> Prometheus:
    """A server that holds the attacker's series only."""
    return filled(of("attacker", 1))


@pytest.fixture(scope="module")
def together(filled: Filled) -> Prometheus:
    """The same one, with the victim's series beside them, and some without a namespace."""
    stray = {'secret{job="x"}': 77.0, 'secret{prompt="bot",version="1.0.0"}': 78.0}
    return filled(of("attacker", 1) | of("victim", 1000) | stray)


def asked(server: Prometheus, promql: str) -> dict[tuple[str, ...], str]:
    """The answer: the values of all labels -> value."""
    rows = server.query(promql, float(END))
    return {tuple(f"{name}={value}" for name, value in sorted(row["metric"].items())): row["value"][1] for row in rows}


def test_the_victim_can_be_read_without_confinement(together: Prometheus) -> None:
    """Or the test below would prove nothing."""
    assert any("prompt_namespace=victim" in row for row in asked(together, CONFINED["plain"].replace("$by", BY)))


@pytest.mark.parametrize("name", CONFINED)
def test_no_answer_depends_on_another_tenant(alone: Prometheus, together: Prometheus, name: str) -> None:
    """With and without the victim's series the answer is the same, and no row is the victim's."""
    promql = read(CONFINED[name]).promql(NATIVE, "attacker", WINDOW)
    answer = asked(together, promql)
    assert answer == asked(alone, promql)
    assert all("prompt_namespace=attacker" in row for row in answer)


@pytest.mark.parametrize("name", ["plain", "or", "range", "quotient", "buckets", "nested", "UTF-8 name", "comment"])
def test_the_confined_queries_are_not_all_empty(together: Prometheus, name: str) -> None:
    """Those that ask for what the tenant has get it, but for the one that wants the victim's."""
    answer = asked(together, read(CONFINED[name]).promql(NATIVE, "attacker", WINDOW))
    assert len(answer) == (0 if name == "comment" else 1)


def selectors(node: object) -> Iterator[dict[str, Any]]:
    """The selectors of a query, as Prometheus' own parser reads it."""
    if isinstance(node, dict):
        if str(node.get("type")).endswith("Selector"):
            yield node
        node = list(node.values())
    for each in node if isinstance(node, list) else ():
        yield from selectors(each)


@pytest.mark.parametrize("name", CONFINED)
def test_prometheus_reads_the_namespace_in_every_selector(alone: Prometheus, name: str) -> None:
    """Its parser is another one than that which confined the query; both see the same selectors."""
    promql = read(CONFINED[name]).promql(NATIVE, "attacker", WINDOW)
    answer = requests.get(f"{alone.url}/api/v1/parse_query", params={"query": promql}, timeout=10).json()
    found = list(selectors(answer["data"]))
    assert len(found) == promql.count('prompt_namespace="attacker"') > 0
    assert all({"name": "prompt_namespace", "type": "=", "value": "attacker"} in each["matchers"] for each in found)
    assert not any(each["offset"] or each["timestamp"] or each["startOrEnd"] for each in found)


MEANINGS = (
    "-sum by ($by) (own) ^ 2",
    "2 ^ 3 ^ 2 * sum by ($by) (own)",
    "sum by ($by) (own) - sum by ($by) (secret) - 3",
    "sum by ($by) (own) / sum by ($by) (secret) * 4 % 7",
    "1 + 2 * sum by ($by) (own) ^ 2 / 3",
    "sum by ($by) (own) > bool sum by ($by) (secret) + 1",
    "sum by ($by) (own) - 1 > 5 and sum by ($by) (secret) or sum by ($by) (own)",
    "sum by ($by) (own) or sum by ($by) (secret) unless sum by ($by) (own)",
    "sum by ($by) (own) == 400 or 0 * sum by ($by) (own)",
    "avg by ($by) (rate(own[$window])) * 1.5e3 - -2",
    "max by ($by) (max_over_time(own[$window]) - min_over_time(own[$window]))",
    "histogram_quantile(0.4, sum by (le, $by) (increase(secret_bucket[$window])))",
    "quantile by ($by) (0.5, own) + stddev by ($by) (own)",
    "clamp_max(sum by ($by) (own), 12) + round(sum by ($by) (own) / 7, 0.5)",
    'sum by ($by) (own{job=~"x|y", job!="\\n"}) + sum by ($by) ({"own", "job"="x"})',
    "sum by ($by) (quantile_over_time(0.9, own[$window]))",
    "sum by ($by) (own) * 5m",
)


@pytest.mark.parametrize("text", MEANINGS)
def test_what_is_asked_means_what_was_written(alone: Prometheus, text: str) -> None:
    """Prometheus gives the same for the text as it was written and as it is printed: one grammar, one precedence."""
    written = text.replace("$by", BY).replace("$window", "10m")
    answer = asked(alone, read(text).promql(NATIVE, "attacker", WINDOW))
    assert len(answer) == 1
    assert answer == asked(alone, written)
