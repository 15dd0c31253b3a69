"""`kubectl prompt test-rules`: what rules would do on series that somebody made up, without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import click

from prompt_operator.adapters.profiles import load_profiles
from prompt_operator.cli import options, printing
from prompt_operator.cli.errors import BadFile
from prompt_operator.cli.manifests.documents import documents
from prompt_operator.cli.testrules.case import BUILT_IN, RuleCase, case_of, deployed
from prompt_operator.cli.testrules.testfile import read
from prompt_operator.core.duration import exact
from prompt_operator.core.rules.scenario import Difference, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prompt_operator.cli.testrules.case import Deployed

Outcome = tuple[RuleCase, tuple[Difference, ...]]


@click.command(name="test-rules")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--rules-from",
    "manifests",
    metavar="MANIFEST",
    multiple=True,
    help="Test the rules of this Prompt or PromptPolicy; may be given several times.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice((*options.OUTPUTS, "junit")),
    default="table",
    show_default=True,
    help="Form of the output.",
)
def test_rules(files: tuple[str, ...], manifests: tuple[str, ...], output: str) -> None:
    """Test rules without a cluster.

    FILE holds series of numbers, and what is expected of the rules at which instant. The built-in rules are in force
    as for a Prompt. Each expectation that does not come true is told, with what came instead and why; the exit status
    is 1 then.
    """
    source = _source(manifests)
    cases = _cases(files, source)
    outcomes = [(case, differences(case.rules, case.given, case.evidence, case.expected)) for case in cases]
    _FORMS[output](outcomes)
    if any(found for _, found in outcomes):
        click.get_current_context().exit(1)


def _source(manifests: tuple[str, ...]) -> Deployed:
    source = deployed(documents(manifests)) if manifests else BUILT_IN
    if source.missing:
        printing.note(f"PromptPolicy {source.missing} is not among these files: the built-in one is used instead.")
    return source


def _cases(files: Iterable[str], source: Deployed) -> list[RuleCase]:
    """Read all files before any is played; what is wrong with each is told at once."""
    profiles, cases, wrong = load_profiles(), [], []
    for file in files:
        try:
            cases.append(case_of(read(file), source, profiles))
        except BadFile as error:
            wrong.append(error.message)
    if wrong:
        raise BadFile("\n".join(wrong))
    return cases


# --- what is printed


def _table(outcomes: list[Outcome]) -> None:
    for case, found in outcomes:
        expected = len(case.expected)
        click.secho(f"{case.file.file}: {expected - len(found)} of {expected} as expected", bold=bool(found))
        if found:
            printing.table(("AT", "RULE", "EXPECTED", "GOT", "WHY"), map(_row, found))
    different = sum(len(found) for _, found in outcomes)
    if different:
        printing.note(
            f"{different} of {sum(len(case.expected) for case, _ in outcomes)} expectations did not come true"
        )


def _row(found: Difference) -> tuple[str, ...]:
    expected = found.expected
    return exact(expected.at), expected.rule, str(expected), found.got, found.why


def _document(form: str) -> Callable[[list[Outcome]], None]:
    return lambda outcomes: printing.document([_members(*outcome) for outcome in outcomes], form)


def _members(case: RuleCase, found: tuple[Difference, ...]) -> dict[str, Any]:
    return {
        "file": case.file.file,
        "expectations": len(case.expected),
        "differences": [
            {
                "line": _line(case, each),
                "at": exact(each.expected.at),
                "rule": each.expected.rule,
                "expected": str(each.expected),
                "got": each.got,
                "why": each.why,
            }
            for each in found
        ],
    }


def _line(case: RuleCase, found: Difference) -> int:
    return case.file.line(("expect", case.expected.index(found.expected)))


def _junit(outcomes: list[Outcome]) -> None:
    """Print the form that CI systems read: a suite for each file, a case for each expectation."""
    root = ET.Element("testsuites", name="kubectl prompt test-rules")
    for case, found in outcomes:
        suite = ET.SubElement(root, "testsuite", name=case.file.file)
        suite.attrib |= {"tests": str(len(case.expected)), "failures": str(len(found))}
        failed = {id(each.expected): each for each in found}
        for expected in case.expected:
            name = f"{expected.rule} at {exact(expected.at)}: {expected}"
            element = ET.SubElement(suite, "testcase", classname=case.file.file, name=name)
            if difference := failed.get(id(expected)):
                failure = ET.SubElement(element, "failure", message=f"got {difference.got}")
                failure.text = difference.why
    ET.indent(root)
    click.echo(ET.tostring(root, encoding="unicode", xml_declaration=True))


_FORMS: dict[str, Callable[[list[Outcome]], None]] = {
    "table": _table,
    "json": _document("json"),
    "yaml": _document("yaml"),
    "junit": _junit,
}
