"""The command: `kubectl-prompt` on PATH is what `kubectl prompt` runs."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTERRUPTED = 130  # as a shell reports a program ended by Ctrl-C

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "See how prompts are": {
        "get": ("view.get", "Show prompts and how they are."),
        "doctor": ("doctor.command", "Say what is wrong and what to do."),
        "explain": ("explain.command", "Tell how a prompt is, why, and what to do."),
        "history": ("view.history", "Show the last activations, newest first."),
        "diff": ("view.diff", "Compare two versions."),
    },
    "Go back, and let in again": {
        "rollback": ("rollbacks.rollback", "Go back to an earlier version."),
        "release": ("rollbacks.release", "Lift the hold of a rejected version."),
        "retry": ("rollbacks.retry", "Lift all holds of a prompt."),
        "ack": ("rollbacks.ack", "Say that you take care of a rollback."),
    },
    "Switch": {
        "suspend": ("operate.suspend", "Stop everything automatic for a prompt."),
        "resume": ("operate.resume", "End suspend: look after the prompt again."),
        "fallback": ("operate.fallback", "Let applications use their built-in default."),
        "enable": ("operate.enable", "End Fallback: serve the active version again."),
        "review": ("operate.review", "Say that you have reviewed a prompt."),
    },
    "Look after versions and records": {
        "rehash": ("versions.rehash", "Accept a changed content of a version."),
        "prune": ("versions.prune", "Delete old versions that nobody needs."),
        "backup": ("backup.backup", "Write prompts and their records to a file."),
        "restore": ("backup.restore", "Create what a backup holds and is missing."),
        "audit": ("audit.command", "Check the audit trail."),
    },
    "Check files, without a cluster": {
        "lint": ("lint.command", "Check manifests without a cluster."),
        "test-rules": ("testrules.command", "Test rules without a cluster."),
    },
}
"""Heading -> verb -> its module in this package, and the first line of its help."""
VERBS = {verb: module for verbs in SECTIONS.values() for verb, (module, _) in verbs.items()}


class Verbs(click.Group):
    """The verbs, each imported when it is run: a person in a hurry waits for one of them, not for all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the overview."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module = import_module(f"prompt_operator.cli.{VERBS[cmd_name]}")
        verb: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview; nothing is imported for it."""
        del ctx
        width = max(map(len, VERBS))
        for heading, verbs in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(verb.ljust(width), said) for verb, (_, said) in verbs.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, under the name that people type."""
        return super().main(*args, **{"prog_name": self.name} | kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; Ctrl-C ends it with the exit status that shells know."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(_INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # a reader such as head has had enough
                raise
            raise click.ClickException(f"{error.filename or 'output'}: {error.strerror or error}.") from error


@click.group(
    name="kubectl prompt",
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done; 1 refused, or something was found; 2 wrong usage or a file that cannot be read; "
    "130 interrupted.",
)
@click.version_option(package_name="prompt-operator", prog_name="kubectl-prompt")
@click.pass_context
def main(context: click.Context) -> None:
    """Look after LLM prompts on Kubernetes: see how they are, roll back, release, suspend."""
    if os.environ.get("NO_COLOR"):
        context.color = False
