"""`kubectl prompt rollback`: ask the operator to go back to an earlier version, and wait for its answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from prompt_client import wire
from prompt_operator.api.common import API_VERSION
from prompt_operator.api.promptrollback import PromptRollback
from prompt_operator.cli import arguments, options, printing, reading
from prompt_operator.cli.errors import Refused
from prompt_operator.ports import PROMPT_ROLLBACK

if TYPE_CHECKING:
    from typing import Any

    from prompt_operator.cli.session import Session

_LOOK_EVERY = 0.1


@click.command()
@click.argument("name", type=arguments.PROMPT)
@options.reason
@click.option(
    "--to",
    type=arguments.VERSION,
    metavar="VERSION",
    help="Version to go back to.  [default: its reference, else the newest usable one]",
)
@click.option(
    "--timeout",
    "seconds",
    type=arguments.seconds,
    metavar="DURATION",
    default="10s",
    show_default=True,
    help="How long to wait for the operator's answer.",
)
@options.yes
@options.in_cluster
async def rollback(session: Session, name: str, reason: str, to: str | None, seconds: float, *, yes: bool) -> None:
    """Go back to an earlier version.

    The active version is left and held until somebody releases it. Creates a PromptRollback in your name. Suspend,
    cooldown and the other guards of automatic rollbacks do not stop a person; only a missing or unusable target
    does.
    """
    active = (await reading.prompt(session, name)).status.active_version
    if not active:
        raise Refused(f"No version of {name} is active: there is nothing to roll back.")
    if to == active:
        raise Refused(f"{to} is the active version of {name}: there is nothing to roll back.")
    options.sure(f"Roll {name} back from {active} to {to or 'its last good version'}?", yes=yes)
    request = await session.cluster.create(PROMPT_ROLLBACK, await _request(session, name, active, to, reason))
    if request is None:
        raise Refused("The name the server chose for the request is taken: run it again.")
    _tell(session, await _answer(session, name, request["metadata"]["name"], seconds))


async def _request(session: Session, name: str, active: str, to: str | None, reason: str) -> dict[str, Any]:
    target = {"toVersion": to} if to else {}
    return {
        "apiVersion": API_VERSION,
        "kind": PROMPT_ROLLBACK.kind,
        "metadata": {
            "generateName": f"{name}-request-",
            "namespace": session.namespace,
            "labels": {wire.PROMPT_LABEL: name},
        },
        "spec": {
            "promptRef": {"name": name},
            "fromVersion": active,
            **target,
            "reason": reason,
            "requestedBy": await session.user(),
        },
    }


async def _answer(session: Session, name: str, request: str, seconds: float) -> PromptRollback:
    """Wait for the operator's record; Refused when none comes in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = PromptRollback.from_manifest(await reading.manifest(session, PROMPT_ROLLBACK, request))
        if found.status.record:
            manifest = await reading.manifest(session, PROMPT_ROLLBACK, found.status.record)
            return PromptRollback.from_manifest(manifest)
        if asyncio.get_running_loop().time() >= deadline:
            raise Refused(
                f"The operator has not answered PromptRollback {request} within {seconds:g} s; it is answered "
                f"as soon as the operator runs: see {options.command(session, 'explain', name)}."
            )
        await _pause(request)


async def _pause(request: str) -> None:
    try:
        await asyncio.sleep(_LOOK_EVERY)
    except asyncio.CancelledError:  # Ctrl-C
        printing.note(f"PromptRollback {request} was created and stays: the operator carries it out all the same.")
        raise


def _tell(session: Session, record: PromptRollback) -> None:
    spec, name = record.spec, record.spec.prompt_ref.name
    if spec.decision != "Executed":
        raise Refused(f"The rollback of {name} from {spec.from_version} was refused: {spec.guard}: {spec.reason}.")
    printing.heading(f"{name} was rolled back from {spec.from_version} to {spec.to_version}.")
    release = options.command(session, "release", record.metadata.name, "--reason", '"…"')
    click.echo(f"{spec.from_version} is held: nothing activates it again until {release}")
