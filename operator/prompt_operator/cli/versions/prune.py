"""`kubectl prompt prune`: delete old versions that nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from prompt_operator.api.experiment import Experiment
from prompt_operator.api.prompt import Prompt
from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.api.promptversion import PromptVersion
from prompt_operator.cli import arguments, options, printing
from prompt_operator.cli.errors import Refused
from prompt_operator.core.retention import Surroundings, kept
from prompt_operator.ports import EXPERIMENT, PROMPT, PROMPT_ROLLBACK, PROMPT_VERSION

if TYPE_CHECKING:
    from prompt_operator.cli.session import Session
    from prompt_operator.ports import Kind, Manifest

_HEADERS = ("PROMPT", "VERSION", "PRUNE", "WHY IT STAYS")


@click.command()
@click.argument("names", nargs=-1, type=arguments.PROMPT)
@click.option("--all", "everything", is_flag=True, help="All prompts of the namespace.")
@click.option("--dry-run", is_flag=True, help="Only show what would go and what stays.")
@options.yes
@options.in_cluster
async def prune(session: Session, names: tuple[str, ...], *, everything: bool, dry_run: bool, yes: bool) -> None:
    """Delete old versions that nobody needs.

    Beyond the newest ones that spec.retention.versions keeps (default 20). Never one that is desired, active, active
    before, held, in history, in an experiment, included, the rollback.reference of one that stays, or kept by Argo
    CD, Flux or Helm. Nothing else ever deletes a version. Asks first; in a script it needs --yes.
    """
    if bool(names) == everything:
        raise click.UsageError("Name the prompts, or say --all.")
    plan = await _plan(session, names)
    _print(plan)
    going = {place for place, why in plan.items() if not why}
    if dry_run or not going:
        printing.note(
            f"{printing.counted(len(going), 'version')} would be deleted." if going else "There is nothing to delete."
        )
        return
    options.surely(f"Delete {printing.counted(len(going), 'version')} for good?", yes=yes)
    deleted = await _delete(session, names, going)
    printing.heading(f"Deleted {printing.counted(deleted, 'version')}.")


Place = tuple[str, str]
"""A prompt's name and a version of it."""


async def _plan(session: Session, names: tuple[str, ...]) -> dict[Place, str]:
    """Return why each version stays, empty where it may go; of the named prompts, of all without names."""
    prompts = [Prompt.from_manifest(each) for each in await _all(session, PROMPT)]
    if missing := sorted(set(names) - {prompt.metadata.name for prompt in prompts}):
        raise Refused(f"There is no Prompt {missing[0]} in namespace {session.namespace}; nothing was deleted.")
    versions = [PromptVersion.from_manifest(each) for each in await _all(session, PROMPT_VERSION)]
    rollbacks = [PromptRollback.from_manifest(each) for each in await _all(session, PROMPT_ROLLBACK)]
    experiments = [Experiment.from_manifest(each) for each in await _all(session, EXPERIMENT)]
    return {
        (prompt.metadata.name, version): why
        for prompt in prompts
        if not names or prompt.metadata.name in names
        for version, why in kept(Surroundings(prompt, versions, rollbacks, experiments)).items()
    }


async def _all(session: Session, kind: Kind) -> list[Manifest]:
    return [each async for each in session.cluster.list(kind, namespace=session.namespace)]


def _print(plan: dict[Place, str]) -> None:
    rows = [(prompt, version, "" if why else "yes", why) for (prompt, version), why in plan.items()]
    if rows:
        printing.table(_HEADERS, rows)


async def _delete(session: Session, names: tuple[str, ...], going: set[Place]) -> int:
    """Delete what was agreed to and still may go: while people think, somebody may have come to need a version."""
    still = {place for place, why in (await _plan(session, names)).items() if not why}
    uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in await _all(session, PROMPT_VERSION)}
    names_of = [f"{prompt}-{version}" for prompt, version in sorted(going & still)]
    for name in names_of:
        await session.cluster.delete(PROMPT_VERSION, session.namespace, name, uid=uids[name])
    for prompt, version in sorted(going - still):
        printing.note(f"{prompt}-{version} was left: it is needed by now.")
    return len(names_of)
