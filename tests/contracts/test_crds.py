"""crds/ is what the models say, to the byte, and reads well for people and programs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prompt_operator.api import KINDS, crdgen
from prompt_operator.api.common import Resource

REPO = Path(__file__).parents[2]
SHORT_NAMES = {
    "Prompt": "prm",
    "PromptVersion": "prv",
    "Experiment": "pex",
    "PromptPolicy": "prp",
    "PromptRollback": "prr",
}


def definition(model: type[Resource]) -> dict[str, Any]:
    """The committed CRD of a kind."""
    text = (REPO / "crds" / f"promptops.dev_{model.definition.plural}.yaml").read_text("utf-8")
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def test_the_committed_files_are_the_generated_ones() -> None:
    """A model cannot change without its CRD, and no file is left over from a kind that is gone."""
    assert crdgen.stale(REPO / "crds") == []


def test_two_runs_give_equal_bytes(tmp_path: Path) -> None:
    """Nothing depends on the hash seed of a process."""
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "prompt_operator.api.crdgen", "--out", str(tmp_path / seed)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPO / "operator")}
        subprocess.run(command, env=environment, check=True)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()} for seed in ("1", "2"))
    assert first == second
    assert len(first) == len(KINDS)


def test_check_names_the_files_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check writes nothing, fails, and names an edited, a missing and a left-over file."""
    crdgen.write(tmp_path)
    (tmp_path / "promptops.dev_prompts.yaml").write_text("edited", "utf-8")
    (tmp_path / "promptops.dev_experiments.yaml").unlink()
    (tmp_path / "promptops.dev_older.yaml").write_text("left over", "utf-8")
    assert crdgen.main(["--check", "--out", str(tmp_path)]) == 1
    named = capsys.readouterr().err
    assert all(f"promptops.dev_{name}.yaml" in named for name in ("prompts", "experiments", "older"))
    assert "promptversions" not in named
    assert (tmp_path / "promptops.dev_prompts.yaml").read_text("utf-8") == "edited"


def test_check_is_content_with_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run writes passes the check of the next one, without a word."""
    assert crdgen.main(["--out", str(tmp_path / "new")]) == 0
    assert crdgen.main(["--check", "--out", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("model", KINDS, ids=lambda model: str(model.__name__))
def test_names_are_the_promised_ones(model: type[Resource]) -> None:
    """Short name, category, scope and label are as the contract says."""
    crd = definition(model)
    kind = crd["spec"]["names"]["kind"]
    assert crd["spec"]["names"]["shortNames"] == [SHORT_NAMES[kind]]
    assert crd["spec"]["names"]["categories"] == ["promptops"]
    assert crd["spec"]["scope"] == "Namespaced"
    assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.promptops.dev"
    assert crd["metadata"]["labels"] == {"app.kubernetes.io/part-of": "prompt-operator"}


@pytest.mark.parametrize("model", KINDS, ids=lambda model: str(model.__name__))
def test_columns_fit_on_a_screen(model: type[Resource]) -> None:
    """`kubectl get` shows at most seven columns beside the name, the age last; selectors stay within the server's 8."""
    (version,) = definition(model)["spec"]["versions"]
    shown = [entry["name"] for entry in version["additionalPrinterColumns"] if "priority" not in entry]
    assert len(shown) <= 7
    assert shown[-1] == "Age"
    assert len(version.get("selectableFields", ())) <= 8


def test_versions_are_found_by_field_selector() -> None:
    """A version is found by prompt and number without reading all of them."""
    (crd,) = (definition(model) for model in KINDS if model.__name__ == "PromptVersion")
    (version,) = crd["spec"]["versions"]
    assert version["selectableFields"] == [{"jsonPath": ".spec.promptRef.name"}, {"jsonPath": ".spec.version"}]


def test_a_union_of_types_is_refused() -> None:
    """A field of two types cannot be structural: the generator stops instead of writing half of it."""
    two_types = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}
    with pytest.raises(ValueError, match="too many values"):
        crdgen.structural(two_types, {})


def test_the_text_of_a_field_wins_over_the_model_it_refers_to() -> None:
    """`kubectl explain` shows what a field means here, not what its type means anywhere."""
    definitions = {"PromptRef": {"type": "object", "title": "PromptRef", "description": "A prompt."}}
    field = {"$ref": "#/$defs/PromptRef", "description": "The prompt to roll back."}
    assert crdgen.structural(field, definitions) == {"type": "object", "description": "The prompt to roll back."}
