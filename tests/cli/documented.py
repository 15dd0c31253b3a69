"""Manifests as if they were read from a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from prompt_operator.cli.manifests.documents import Document

if TYPE_CHECKING:
    from prompt_operator.ports import Manifest


def documented(manifest: Manifest) -> Document:
    """Return a manifest as the one document of file `f`, in one line of JSON."""
    root = yaml.compose(json.dumps(manifest), yaml.SafeLoader)
    assert root is not None
    return Document("f", 1, manifest, root)
