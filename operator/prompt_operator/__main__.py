"""`prompt-operator`: the command that runs the operator."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from prompt_operator.adapters.credentials import NoCredentials
from prompt_operator.adapters.http import AddressTaken
from prompt_operator.handlers.leading import LeaseLost
from prompt_operator.handlers.lifecycle import operate
from prompt_operator.settings import options, resolve
from prompt_operator.telemetry import configure_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prompt-operator")
def main() -> None:
    """The operator for LLM prompts on Kubernetes."""


def _run(**flags: object) -> None:
    settings = resolve(flags, os.environ)
    configure_logging(settings.log_format, settings.log_level)
    try:
        asyncio.run(operate(settings))
    except (NoCredentials, AddressTaken, LeaseLost) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)


main.add_command(
    click.Command(
        "run",
        params=list(options()),
        callback=_run,
        help="Run the operator against the cluster of KUBECONFIG, or of the pod it runs in.",
        epilog="A flag wins over its environment variable, that over the file, that over the default.",
    )
)

if __name__ == "__main__":
    main()
