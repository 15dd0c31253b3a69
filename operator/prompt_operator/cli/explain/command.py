"""`kubectl prompt explain`: how a prompt is, why, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.cli import arguments, options, printing, reading
from prompt_operator.cli.errors import sentence
from prompt_operator.cli.explain.sections import Case, rejected, sections
from prompt_operator.core.managed import SIGNATURES, signed_at
from prompt_operator.core.policy import effective
from prompt_operator.core.rules.measure import Identity
from prompt_operator.core.rules.resolved import queries_of
from prompt_operator.ports import Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from prompt_operator.api.prompt import Prompt
    from prompt_operator.api.promptversion import PromptVersion
    from prompt_operator.cli.explain.aftermath import Signed
    from prompt_operator.cli.explain.sections import Section
    from prompt_operator.cli.session import Session
    from prompt_operator.ports import Manifest


@click.command()
@click.argument("name", type=arguments.PROMPT)
@click.option(
    "--texts/--no-texts",
    default=True,
    show_default=True,
    help="After a rollback, tell what the two versions differ in; without, it has no text of prompts.",
)
@click.option("--queries", is_flag=True, help="Tell the queries of all rules that are Unknown, however many they are.")
@options.output
@options.in_cluster
async def explain(session: Session, name: str, output: str, *, texts: bool, queries: bool) -> None:
    """Tell how a prompt is, why, and what to do.

    Which version is active and why, what is wrong, what was decided on which evidence, what is held, the next step.
    After a rollback also what happened when, what the guards saw, what the two versions differ in, and how they came
    about, with what their author foresaw.
    """
    prompt = await reading.prompt(session, name)
    records, asked = await reading.rollback_manifests(session, name), await _queries(session, prompt)
    versions, unread = await _versions(session, prompt)
    case = Case(
        *(prompt, reading.newest_first(records), versions, session.flags, session.now(), unread, texts, asked),
        signed=dict(_signed(records)),
        every_query=queries,
    )
    told = sections(case)
    if output == "table":
        _print(told)
    else:
        printing.document([asdict(section) for section in told], output)


def _signed(records: Iterable[Manifest]) -> Iterator[tuple[Signed, datetime]]:
    """Yield when each signature was set."""
    for record in records:
        for member in SIGNATURES:
            if member in record["spec"]:
                yield (record["metadata"]["name"], member), signed_at(record, member)


async def _versions(session: Session, prompt: Prompt) -> tuple[dict[str, PromptVersion], dict[str, str]]:
    """Read the active version and the two of the last rollback; return those found, and why others were not."""
    decision, name = prompt.status.decision, prompt.metadata.name
    restored = decision.to_version if rejected(prompt) and decision is not None else None
    found: dict[str, PromptVersion] = {}
    unread: dict[str, str] = {}
    for version in dict.fromkeys(filter(None, (rejected(prompt), restored, prompt.status.active_version))):
        try:
            manifest = await reading.version_if_there(session, name, version)
        except Forbidden as error:
            unread[version] = sentence(error)
            continue
        if manifest is None:
            unread[version] = f"PromptVersion {name}-{version} is gone."
        else:
            found[version] = manifest
    return found, unread


async def _queries(session: Session, prompt: Prompt) -> Mapping[str, tuple[str, ...]]:
    """Return what the values of each rule in force are asked by; nothing where policy or profile are not known here."""
    reference, active = prompt.spec.policy_ref, prompt.status.active_version
    try:
        policy = await reading.policy_if_there(session, reference.name if reference else "default")
    except (Forbidden, ValidationError):  # who may not read the policy, or has an older one of us, is told the rest
        return {}
    in_force = effective(prompt.spec, policy.spec if policy else None, prompt.metadata.namespace)
    profile = load_profiles().get(in_force.profile)
    if profile is None or not active:
        return {}
    version = Identity(prompt.metadata.namespace, prompt.metadata.name, active)
    return {rule.name: queries_of(profile, rule, version) for rule in in_force.rules}


def _print(told: tuple[Section, ...]) -> None:
    for number, section in enumerate(told):
        if number:
            click.echo()
        printing.heading(section.title)
        for line in section.lines:
            click.secho(f"  {line}", fg=printing.DIFF_STYLES.get(line[:1]))
