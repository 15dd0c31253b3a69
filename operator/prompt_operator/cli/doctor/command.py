"""`kubectl prompt doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from prompt_operator.cli import arguments, options, printing
from prompt_operator.cli.doctor.findings import findings
from prompt_operator.cli.doctor.snapshot import look
from prompt_operator.cli.errors import Blind, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_operator.cli.doctor.findings import Finding
    from prompt_operator.cli.doctor.snapshot import Snapshot
    from prompt_operator.cli.session import Session


def _blind(verb: Callable[..., None]) -> Callable[..., None]:
    """Turn a failure of the whole look into exit status 2: nothing was seen, so nothing can be said to be wrong."""

    @wraps(verb)
    def run(*words: Any, **given: Any) -> None:
        try:
            verb(*words, **given)
        except Refused as error:
            raise Blind(error.message) from error

    return run


@click.command(
    epilog="Exit status: 0 nothing is wrong; 1 something is; 2 nothing is known to be, but not all is known."
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
@click.option(
    "--operator-url",
    type=arguments.address,
    metavar="URL",
    default="",
    help="Address of the operator's health server, such as http://127.0.0.1:8080 behind kubectl port-forward: to see "
    "its Prometheus, ticks and audit trail.",
)
@click.option(
    "--operator",
    "installed",
    type=arguments.placed,
    default="prompt-operator/prompt-operator",
    show_default=True,
    metavar="NAMESPACE/NAME",
    help="Where the operator is installed: its Deployment.",
)
@options.output
@_blind
@options.in_cluster
async def doctor(session: Session, *, all_namespaces: bool, operator_url: str, installed: str, output: str) -> None:
    """Say what is wrong and what to do.

    Looks at definitions, the operator, its rights and settings, and at each prompt, version, policy and ConfigMap. Only
    reads. Names each fault with its remedy and its page under docs/.
    """
    namespace = None if all_namespaces else session.namespace
    home, _, name = installed.rpartition("/")
    seen = await look(session, (home or name, name), operator_url, namespace)
    found = findings(seen)
    if output == "table":
        _print(found, seen, f"namespace {namespace}" if namespace else "all namespaces")
    else:
        not_looked = [f"{what}: {why}" for what, why in seen.not_looked]
        printing.document({"found": [asdict(each) for each in found], "notLookedAt": not_looked}, output)
    if seen.answered and not seen.installed:
        printing.note(f"Not looked at: rights and settings of the operator: none is installed as {installed}.")
    if not operator_url and seen.installed:
        printing.note("Not asked: the operator itself (--operator-url): whether it reaches Prometheus, ticks, audit.")
    if found or seen.not_looked:
        click.get_current_context().exit(1 if any(each.certain for each in found) else 2)


def _print(found: tuple[Finding, ...], seen: Snapshot, where: str) -> None:
    for each in found:
        printing.heading(f"{each.found}: {each.where}" + ("" if each.certain else " (not known)"))
        click.echo(f"  {each.message}")
        click.echo(f"  do:  {each.remedy}")
        click.echo(f"  see: docs/{each.runbook}\n")
    click.echo(_summary(found, seen, where))
    for why in dict.fromkeys(why for _, why in seen.not_looked):
        whats = ", ".join(what for what, its in seen.not_looked if its == why)
        printing.note(f"Not looked at: {whats}: {why}")


def _summary(found: tuple[Finding, ...], seen: Snapshot, where: str) -> str:
    wrong, prompts = sum(each.certain for each in found), len(seen.prompts)
    unknown = len(found) - wrong
    nothing = "nothing wrong in what could be seen" if seen.not_looked else "nothing wrong"
    counts = [f"{wrong} wrong" if wrong else nothing, *([f"{unknown} not known"] if unknown else [])]
    return f"{', '.join(counts).capitalize()}; {printing.counted(prompts, 'prompt')} of {where} looked at."
