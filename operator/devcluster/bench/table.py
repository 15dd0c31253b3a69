"""The figures as a table for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_LATENCY_BOUNDS = {"p50": "15 ms", "p95": "40 ms", "p99": "100 ms", "max": ""}


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print machine, method and every figure; bounds are those for 10,000 prompts and 50,000 versions."""
    machine = figures["machine"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"Python {machine['python']}, load {machine['load_before']} before and {machine['load_after']} after; "
        + ", ".join(f"{name} {version}" for name, version in figures["components"].items()),
        style="dim",
    )
    scale = figures["scale"]
    table = Table(title=f"{scale['prompts']:,} prompts, {scale['versions']:,} versions", title_justify="left")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("bound at 10,000/50,000", justify="right")
    for row in _rows(figures):
        table.add_row(*row)
    console.print(table)
    for line in figures["method"]:
        console.print(line, style="dim", highlight=False)


def _rows(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for state, summary in figures["apply_to_configmap_ms"].items():
        for name, value in summary.items():
            yield f"apply → ConfigMap, {state}, {name}", f"{value} ms", _LATENCY_BOUNDS[name]
    for name, text in (("request", "request for a rollback"), ("decision", "decision to roll back")):
        found = figures["rollback"][f"{name}_to_configmap_ms"]
        yield f"{text} → ConfigMap, p50", f"{found['p50']} ms", ""
        yield f"{text} → ConfigMap, max", f"{found['max']} ms", "1000 ms"
    loading, idle, restart = figures["loading"], figures["idle"], figures["restart"]
    yield "objects created until all are projected", f"{loading['all_projected_s']} s", ""
    yield "resident memory", f"{idle['rss_mib']} MiB", "200 MiB"
    yield "idle, share of one core", f"{idle['cpu_percent']} %", "2 %"
    yield "idle, API requests per minute", f"{idle['api_requests_per_minute']}", ""
    yield "idle, writes per minute", f"{idle['writes_per_minute']}{_what(idle)}", "0"
    yield "restart until ready", f"{restart['ready_s']} s", ""
    yield "restart until all is reconciled", f"{restart['reconciled_s']} s", "60 s"
    yield "restart, writes", f"{restart['writes']}{_what(restart)}", "0"
    if burst := figures["burst"]:
        yield "all prompts changed at once, ConfigMaps", f"{burst['projected_per_s']}/s", ""
        yield "a bare client, the same ConfigMaps", f"{burst['bare_per_s']}/s", ""
        yield "share of the bare client's rate", f"{burst['share_percent']} %", "70 %"
    quiet = figures["with_traffic"]
    yield "with traffic, resident memory", f"{quiet['rss_mib']} MiB", "200 MiB"
    yield "with traffic, share of one core", f"{quiet['cpu_percent']} %", ""
    yield "with traffic, writes per minute", f"{quiet['writes_per_minute']}{_what(quiet)}", "0"
    for judged in figures["rules"]:
        yield from _judged(judged)
    if rule := figures["rollback_by_rule"]:
        yield "first failed answer to ConfigMap switched", f"{rule['breach_to_switch_s']} s", ""
        yield "end of the rule's `for` to ConfigMap switched", f"{rule['held_to_switch_s']} s", "3 s"


def _judged(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    where = f"{figures['prompts']:,} prompts in {figures['namespaces']} namespaces"
    usual, most, first = figures["median"], figures["most"], figures["first"]
    rows = (
        ("queries", "queries", "", ""),
        ("seconds", "wall_s", " s", ""),
        ("processor of the operator", "operator_cpu_s", " s", "5 s"),
        ("processor of Prometheus", "prometheus_cpu_s", " s", ""),
        ("longest stall of the event loop", "longest_stall_ms", " ms", ""),
        ("resident memory", "rss_mib", " MiB", ""),
        ("prompts to look at", "woken", "", "0"),
    )
    for text, name, unit, bound in rows:
        value = f"{usual[name]}{unit}, at most {most[name]}{unit}; first {first[name]}{unit}"
        yield f"tick, {where}: {text}", value, bound


def _what(figures: Mapping[str, Any]) -> str:
    """Name what was written, where anything was."""
    written = ", ".join(f"{count} {what}" for what, count in figures["written"].items())
    return f" ({written})" if written else ""
