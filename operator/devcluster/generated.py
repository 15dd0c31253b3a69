"""All generated files of the checkout: `python -m devcluster.generated [--check]`.

What comes from the models is rendered by `prompt_operator.api`; here is which file it belongs to. A page that is partly
written by hand has its generated part between two marks.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.metrics import MetricWrapperBase

from devcluster import recordingrules
from devcluster.paths import REPO
from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.api import crdgen, reference
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.profile import Profile
from prompt_operator.engine.rulegauges import RuleGauges
from prompt_operator.settings import FILE_ONLY, Settings, flag, variable
from prompt_operator.sources import Header, Source
from prompt_operator.telemetry import Telemetry

if TYPE_CHECKING:
    from pydantic import BaseModel

BEGIN, END = "<!-- generated: ./operator/dev generate -->\n", "<!-- end of the generated part -->\n"


def whole_files() -> dict[str, str]:
    """Path in the checkout -> text, of files without a word by hand."""
    crds = crdgen.render()
    copies = {f"helm/prompt-operator/files/crds/{name}": text for name, text in crds.items()}
    return (
        {f"crds/{name}": text for name, text in crds.items()}
        | copies
        | recordingrules.files()
        | {"docs/reference/api.md": reference.render()}
    )


def parts() -> dict[str, str]:
    """Path in the checkout -> text between the marks."""
    return {
        "docs/reference/settings.md": settings_table(),
        "docs/metrics-sources.md": sources_table(),
        "docs/reference/metrics.md": metrics_table(),
        "docs/metrics-profiles.md": profiles_table(),
    }


def rendered(root: Path) -> dict[str, str]:
    """Path in the checkout -> text, of every generated file as it should be."""
    return whole_files() | {name: fill((root / name).read_text("utf-8"), part) for name, part in parts().items()}


def fill(page: str, part: str) -> str:
    """Put the generated part between the marks; ValueError when a mark is missing."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError("the page has lost the marks around its generated part")
    return f"{before}{BEGIN}{part}{END}{after}"


def stale(root: Path) -> list[str]:
    """Paths that differ from what they should be, left-over files in generated folders included."""
    wanted = rendered(root)
    folders = {Path(name).parent for name in wanted if name.endswith(".yaml")}
    present = {str(path.relative_to(root)) for folder in folders for path in (root / folder).glob("*.yaml")}
    return sorted(name for name in wanted.keys() | present if _text(root / name) != wanted.get(name))


def write(root: Path) -> None:
    """Bring every generated file up to date; one that is left over is named by the check and removed by people."""
    for name, text in rendered(root).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")


def _text(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def settings_table() -> str:
    """Each setting with its flag, its variable, its name in the file and its default."""
    rows = [
        (*_outside(name), f"`{field.alias}`", _default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
        if not field.exclude
    ]
    return reference.table(("flag", "environment", "in the file", "default", "what it does"), rows)


def sources_table() -> str:
    """Each field of a metric source in the settings file, and of its headers."""
    fields: list[tuple[str, type[BaseModel]]] = [("", Source), ("headers[].", Header)]
    rows = [
        (f"`{inside}{field.alias}`", _default(None if field.is_required() else field.default), field.description or "")
        for inside, block in fields
        for field in block.model_fields.values()
    ]
    return reference.table(("field", "default", "what it is"), rows)


def _outside(name: str) -> tuple[str, str]:
    """Return flag and variable of a setting."""
    return ("-", "-") if name in FILE_ONLY else (f"`{flag(name)}`", f"`{variable(name)}`")


def _default(value: object) -> str:
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():g}s`"
    return f"`{value}`" if value not in ("", (), None) else "-"


def profiles_table() -> str:
    """Each quantity, and the series that each shipped profile reads it from."""
    profiles = [profile for _, profile in sorted(load_profiles().items())]
    rows = [(f"`{q}`", *(_series(profile, q) for profile in profiles)) for q in Quantity]
    return reference.table(("quantity", *(f"`{profile.name}`" for profile in profiles)), rows)


def _series(profile: Profile, quantity: Quantity) -> str:
    source = profile.quantities.get(quantity)
    return "-" if source is None else " + ".join(f"`{metric}`" for metric in source.metrics)


def metrics_table() -> str:
    """Each metric of the operator with its type and labels."""
    return reference.table(("metric", "type", "labels", "what it says"), sorted(_metrics()))


def _metrics() -> Iterator[tuple[str, str, str, str]]:
    for metric in vars(Telemetry()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001  there is no public way
            yield f"`{name}`", family.type, labels or "-", family.documentation
    for family in RuleGauges(tuple, "off").describe():
        labels = ", ".join(f"`{label}`" for label in family._labelnames)  # noqa: SLF001
        yield f"`{family.name}`", family.type, labels, family.documentation


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with `--check` name those that are out of date; returns the exit status."""
    parser = argparse.ArgumentParser(prog="generated", description="Write all generated files.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    if not parser.parse_args(arguments).check:
        write(REPO)
        return 0
    outdated = stale(REPO)
    for name in outdated:
        sys.stderr.write(f"{name} is not as generated; run: ./operator/dev generate\n")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
