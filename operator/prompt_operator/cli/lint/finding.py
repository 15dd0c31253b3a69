"""One finding of `lint`, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompt_operator.cli.manifests.places import place_of, position

if TYPE_CHECKING:
    from prompt_operator.cli.manifests.documents import Document
    from prompt_operator.cli.manifests.places import Position

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or odd."""

    document: Document
    severity: str
    """`error` or `warning`."""
    path: str
    """Of the member; empty for the whole object."""
    message: str
    within: Position | None = None
    """Where in the member it is, as far as that is known."""

    @property
    def position(self) -> Position:
        """Where it stands in the file: the place within the member, or the member, or what should hold it."""
        return self.within or position(self.document.root, place_of(self.path))

    def __str__(self) -> str:
        warning = "" if self.severity == ERROR else self.severity
        parts = (f"{self.document.file}:{self.position}", warning, self.path, self.message)
        return ": ".join(part for part in parts if part)
