"""Exposition text that a real program wrote once, kept so that the tests can replay it without that program.

A recording is a folder with `before.prom` and `after.prom`, two scrapes with growth between them, and `about.yaml`:
what made it, and what happened between the two scrapes. `record_*.py` beside this file make them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prompt_operator.adapters.profiles import load_profiles

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Recording:
    """Two scrapes of one program, and what it did between them."""

    before: str
    after: str
    about: dict[str, Any]

    @property
    def done(self) -> dict[str, float]:
        """Quantity -> its growth between the scrapes, as the client of the program counted it."""
        done: dict[str, float] = self.about["done"]
        return done


def load(profile: str) -> Recording:
    """Read the recording of a profile."""
    folder = FOLDER / profile
    before, after = ((folder / f"{name}.prom").read_text("utf-8") for name in ("before", "after"))
    return Recording(before, after, yaml.safe_load((folder / "about.yaml").read_text("utf-8")))


def save(profile: str, recording: Recording) -> None:
    """Write a recording, with only the series that the profile reads."""
    folder = FOLDER / profile
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {metric for source in load_profiles()[profile].quantities.values() for metric in source.metrics}
    for name, text in (("before", recording.before), ("after", recording.after)):
        (folder / f"{name}.prom").write_text(_only(text, wanted), "utf-8")
    (folder / "about.yaml").write_text(yaml.safe_dump(recording.about, sort_keys=False), "utf-8")


def _only(text: str, wanted: set[str]) -> str:
    families = {metric.removesuffix(suffix) for metric in wanted for suffix in ("_bucket", "_count", "_sum", "_total")}
    kept = []
    for line in text.splitlines(keepends=True):
        words = line.replace("{", " ").split(maxsplit=3)
        typed = words[:2] == ["#", "TYPE"] and words[2] in families | wanted
        if typed or (words and words[0] in wanted):
            kept.append(line)
    return "".join(kept)
