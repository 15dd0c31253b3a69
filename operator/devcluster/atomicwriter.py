"""Publishing files the way kubelet publishes a ConfigMap volume: readers see all of the old or all of the new.

Layout of a mounted folder::

    ..2026_01_31_12_00_00.1234567/system.txt    the payload
    ..data -> ..2026_01_31_12_00_00.1234567     swapped by one rename
    system.txt -> ..data/system.txt             what applications open
"""

import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

DATA = "..data"


def publish(folder: Path, payload: Mapping[str, bytes]) -> bool:
    """Make `payload` (file name -> content) the content of `folder`; False when it already was."""
    folder.mkdir(parents=True, exist_ok=True)
    before = folder / (folder / DATA).readlink() if (folder / DATA).is_symlink() else None
    if before is not None and _read(before) == payload:
        return False
    stamp = datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.")
    after = Path(tempfile.mkdtemp(prefix=stamp, dir=folder))
    after.chmod(0o755)
    for name, content in payload.items():
        (after / name).write_bytes(content)
    _link(folder / DATA, after.name)
    _link_names(folder, payload)
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)
    return True


def _link_names(folder: Path, payload: Mapping[str, bytes]) -> None:
    """Give every file of the payload its visible name and take away the names that are gone."""
    for name in payload:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{DATA}/{name}")
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in payload:
            entry.unlink()


def _link(link: Path, target: str) -> None:
    """Point a symlink at `target` in one step."""
    temporary = link.with_name(f"{link.name}_tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _read(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.is_dir() else {}
