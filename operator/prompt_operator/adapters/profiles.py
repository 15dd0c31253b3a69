"""The metric profiles that come with the package, and those of a folder that the operator's settings name."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from prompt_operator.core.rules.profile import Profile, parse_profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def load_profiles(directory: Path | None = None) -> dict[str, Profile]:
    """Return every profile by name: the shipped ones, added to and replaced by name from the YAML files of a folder.

    Raises:
        ValueError: a file is wrong, two of the folder have one name, or the folder cannot be read; the message names
            file, field and cause.
    """
    folder = files("prompt_operator.core.rules").joinpath("profiles")
    shipped = _read(((f"profiles/{file.name}", file.read_text("utf-8")) for file in folder.iterdir()), {})
    return shipped if directory is None else {**shipped, **_read(_texts(directory), shipped)}


def _texts(directory: Path) -> list[tuple[str, str]]:
    """Return path and text of each file; what a mounted ConfigMap holds beside them begins with a dot."""
    try:
        paths = [path for path in sorted(directory.iterdir()) if not path.name.startswith(".")]
        return [(str(path), path.read_text("utf-8")) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the profiles in {directory}: {error}") from error


def _read(texts: Iterable[tuple[str, str]], known: Mapping[str, Profile]) -> dict[str, Profile]:
    profiles: dict[str, Profile] = {}
    for path, text in texts:
        if not path.endswith((".yaml", ".yml")):
            continue
        try:
            profile = parse_profile(text, known)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if profile.name in profiles:
            raise ValueError(f"{path}: name: another file has a profile {profile.name} too")
        profiles[profile.name] = profile
    return profiles
