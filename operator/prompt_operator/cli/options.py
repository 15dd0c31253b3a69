"""Options that many verbs share, and the step from a command line to a session."""

from __future__ import annotations

import asyncio
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prompt_operator.cli import arguments
from prompt_operator.cli.errors import Refused, told
from prompt_operator.cli.session import Target, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from prompt_operator.cli.session import Connect, Session

    Reach = Callable[[], AbstractAsyncContextManager[Session]]
    """The way to a session, not gone yet."""

F = TypeVar("F", bound="Callable[..., Any]")

OUTPUTS = ("table", "json", "yaml")

output = click.option(
    "-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True, help="Form of the output."
)
reason = click.option(
    "--reason",
    type=arguments.why,
    metavar="TEXT",
    required=True,
    help="Why; kept in the record for those who read it later.",
)
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")

_TARGET: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "-n", "--namespace", type=arguments.NAMESPACE, default="", help="Namespace.  [default: the one of the context]"
    ),
    click.option("--context", "context_name", default="", help="Context of the kubeconfig.  [default: the current]"),
    click.option("--kubeconfig", default="", help="Path of the kubeconfig.  [default: KUBECONFIG, ~/.kube/config]"),
)


def in_cluster(verb: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a click callback of `async def verb(session, **parameters)`, with the options that choose a cluster.

    A test gives another way to a cluster as the click context's `obj`.
    """

    @wraps(verb)
    async def within(reach: Reach, **given: Any) -> None:
        async with reach() as session:
            await verb(session, **given)

    return reaching(within)


def reaching(verb: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a click callback of `async def verb(reach, **parameters)`, which opens a session only where it needs one."""

    @click.pass_context
    @wraps(verb)
    def run(click_context: click.Context, /, **given: Any) -> None:
        target = Target(given.pop("kubeconfig"), given.pop("context_name"), given.pop("namespace"))
        connecting: Connect = click_context.obj or connect
        with told():
            asyncio.run(verb(lambda: connecting(target), **given))

    callback: Callable[..., None] = run
    for option in reversed(_TARGET):
        callback = option(callback)
    return callback


def command(session: Session, *words: str) -> str:
    """Write a command line that can be copied and goes to the same place."""
    return " ".join(["kubectl prompt", *words, session.flags])


def sure(question: str, *, yes: bool) -> None:
    """Ask on a terminal whether to go on; elsewhere (a script, a pipeline) nobody can answer and nobody is asked."""
    if not yes and _on_terminal():
        click.confirm(question, abort=True, err=True)


def surely(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; where nobody can answer, only `--yes` goes on."""
    if not yes and not _on_terminal():
        raise Refused("This cannot be undone and nobody can be asked here: run it with --yes. Nothing was done.")
    sure(question, yes=yes)


def _on_terminal() -> bool:
    return sys.stdin.isatty()
