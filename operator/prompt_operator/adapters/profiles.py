"""The metric profiles that come with the package."""

from __future__ import annotations

from importlib.resources import files

from prompt_operator.core.rules.profile import Profile, parse_profile


def load_profiles() -> dict[str, Profile]:
    """Read and validate every shipped profile; ValueError names the file that is wrong."""
    profiles = {}
    for entry in files("prompt_operator.core.rules").joinpath("profiles").iterdir():
        if entry.name.endswith(".yaml"):
            profile = _parsed(entry.name, entry.read_text(encoding="utf-8"))
            profiles[profile.name] = profile
    return profiles


def _parsed(name: str, text: str) -> Profile:
    try:
        return parse_profile(text)
    except ValueError as error:
        raise ValueError(f"profiles/{name}: {error}") from error
