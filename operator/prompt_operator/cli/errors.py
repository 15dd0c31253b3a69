"""Exit statuses, and one sentence for each way in which asking the cluster can fail."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import click
from pydantic import ValidationError

from prompt_operator.adapters.credentials import NoCredentials
from prompt_operator.ports import Conflict, Forbidden, GiveUp, Retry, Unavailable, UnknownKind

if TYPE_CHECKING:
    from collections.abc import Iterator


_UNKNOWN_USER = ": 401 "
_ANSWER = re.compile(r".*?: [45]\d\d \w*: (?P<said>.+)")


class Refused(click.ClickException):
    """What was asked for was not done, or something was found; the message says why and what to do."""

    exit_code: ClassVar[int] = 1


class BadFile(click.ClickException):
    """A file cannot be read; like wrong usage."""

    exit_code: ClassVar[int] = 2


class Blind(click.ClickException):
    """Nothing could be looked at, so nothing is known; the message says why."""

    exit_code: ClassVar[int] = 2


class Unreadable(click.ClickException):
    """What was to be checked cannot be read: neither right nor wrong, for verbs in which 2 means something else."""

    exit_code: ClassVar[int] = 3


@contextmanager
def told() -> Iterator[None]:
    """Turn every failure of the cluster into one sentence and exit status 1."""
    try:
        yield
    except (NoCredentials, Retry, GiveUp, ValidationError) as error:
        raise Refused(sentence(error)) from error


def sentence(error: Exception) -> str:  # noqa: PLR0911  a table
    """Return what happened and what to do, for a person."""
    match error:
        case NoCredentials():
            return f"No cluster: {str(error).rstrip('.')}."
        case UnknownKind():
            return (
                "The cluster does not know this kind: install the CRDs (kubectl apply --server-side -f crds/), "
                f"or choose another cluster with --context ({error})."
            )
        case Forbidden():
            return f"You may not do this: {_reason(error)}. Ask for the right, or choose another --context."
        case Conflict():
            return f"Somebody changed it at the same moment, nothing was written: run it again ({error})."
        case Unavailable():
            return f"The API server does not answer: see whether the cluster runs and --context is right ({error})."
        case Retry() if _UNKNOWN_USER in str(error):
            return f"The API server does not know you: log in again, or choose another --context ({error})."
        case ValidationError():
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            return f"This {error.title} is of another release ({place}: {first['msg']}): use the kubectl-prompt of it."
        case _:
            return f"The API server refused it, nothing was written: {_reason(error)}."


def _reason(error: Exception) -> str:
    """Return what the server said, without the request, the code and the kind of refusal before it."""
    found = _ANSWER.match(str(error))
    return (found["said"] if found else str(error)).rstrip(".")
