"""`prompt-operator`: the command that runs the operator."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from prompt_operator.adapters.credentials import NoCredentials
from prompt_operator.adapters.http import AddressTaken
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.adapters.rulefiles import prometheus_rule, rule_file
from prompt_operator.collector import spare_full_passes
from prompt_operator.handlers.leading import LeaseLost
from prompt_operator.handlers.lifecycle import WatchesEnded, operate
from prompt_operator.ports import WentBack
from prompt_operator.settings import options, resolve
from prompt_operator.telemetry import configure_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prompt-operator")
def main() -> None:
    """The operator for LLM prompts on Kubernetes."""


def _run(**flags: object) -> None:
    settings = resolve(flags, os.environ)
    configure_logging(settings.log_format, settings.log_level)
    spare_full_passes()
    try:
        asyncio.run(operate(settings))
    except (NoCredentials, AddressTaken, LeaseLost, WatchesEnded, WentBack) as error:
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


@main.command("recording-rules")
@click.argument("name", metavar="PROFILE")
@click.option("--profiles-dir", type=click.Path(path_type=Path), help="Folder of profiles of your own.")
@click.option("--object", "as_object", is_flag=True, help="Print a PrometheusRule instead of a rule file.")
def recording_rules(name: str, profiles_dir: Path | None, *, as_object: bool) -> None:
    """Print the recording rules of a metric profile, which windows of 24h and 7d are read from."""
    try:
        profiles = load_profiles(profiles_dir)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if name not in profiles:
        raise click.ClickException(f"there is no profile {name}; there are {', '.join(sorted(profiles))}")
    click.echo((prometheus_rule if as_object else rule_file)(profiles[name]), nl=False)


if __name__ == "__main__":
    main()
