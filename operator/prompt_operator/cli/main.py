"""The command: `kubectl-prompt` on PATH is what `kubectl prompt` runs."""

from __future__ import annotations

import os

import click

from prompt_operator.cli.ack import ack
from prompt_operator.cli.audit import audit
from prompt_operator.cli.backup import backup
from prompt_operator.cli.diff import diff
from prompt_operator.cli.doctor import doctor
from prompt_operator.cli.enable import enable
from prompt_operator.cli.explain import explain
from prompt_operator.cli.fallback import fallback
from prompt_operator.cli.get import get
from prompt_operator.cli.history import history
from prompt_operator.cli.lint import lint
from prompt_operator.cli.prune import prune
from prompt_operator.cli.rehash import rehash
from prompt_operator.cli.release import release
from prompt_operator.cli.restore import restore
from prompt_operator.cli.resume import resume
from prompt_operator.cli.retry import retry
from prompt_operator.cli.review import review
from prompt_operator.cli.rollback import rollback
from prompt_operator.cli.session import PROGRAM
from prompt_operator.cli.suspend import suspend
from prompt_operator.cli.testrules import test_rules

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
