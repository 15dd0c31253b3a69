"""The command: `kubectl-prompt` on PATH is what `kubectl prompt` runs."""

from __future__ import annotations

import os

import click

from prompt_operator.cli.audit.command import audit
from prompt_operator.cli.backup.backup import backup
from prompt_operator.cli.backup.restore import restore
from prompt_operator.cli.doctor.command import doctor
from prompt_operator.cli.explain.command import explain
from prompt_operator.cli.lint.command import lint
from prompt_operator.cli.operate.enable import enable
from prompt_operator.cli.operate.fallback import fallback
from prompt_operator.cli.operate.resume import resume
from prompt_operator.cli.operate.review import review
from prompt_operator.cli.operate.suspend import suspend
from prompt_operator.cli.rollbacks.ack import ack
from prompt_operator.cli.rollbacks.release import release
from prompt_operator.cli.rollbacks.retry import retry
from prompt_operator.cli.rollbacks.rollback import rollback
from prompt_operator.cli.session import PROGRAM
from prompt_operator.cli.testrules.command import test_rules
from prompt_operator.cli.versions.prune import prune
from prompt_operator.cli.versions.rehash import rehash
from prompt_operator.cli.view.diff import diff
from prompt_operator.cli.view.get import get
from prompt_operator.cli.view.history import history

VERBS = (
    *(get, doctor, explain, history, diff, lint, test_rules, rollback, release, retry, ack, review),
    *(suspend, resume, fallback, enable, rehash, backup, restore, prune, audit),
)


@click.group(
    name="kubectl prompt",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done; 1 refused, or something was found; 2 wrong usage or a file that cannot be read.",
)
@click.version_option(package_name="prompt-operator", prog_name=PROGRAM)
@click.pass_context
def main(context: click.Context) -> None:
    """Look after LLM prompts on Kubernetes: see how they are, roll back, release, suspend."""
    if os.environ.get("NO_COLOR"):
        context.color = False


for _verb in VERBS:
    main.add_command(_verb)
