"""The closed vocabulary of reasons: every word has its runbook, and no runbook is without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from prompt_operator.core.reasons import Objection, Reason

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
WORDS = sorted({str(word) for word in (*Reason, *Objection)})
BESIDE = {"README", "index"}


@pytest.mark.parametrize("word", WORDS)
def test_every_reason_has_a_runbook(word: str) -> None:
    """Whoever meets the word in status or an Event finds a page of that name."""
    page = RUNBOOKS / f"{word}.md"
    assert page.is_file()
    assert page.read_text().strip()


def test_no_runbook_is_left_over() -> None:
    """A page of a word that nothing says misleads."""
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - BESIDE <= set(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_words_are_what_the_api_takes(word: str) -> None:
    """CamelCase, letters and digits: the pattern of a condition's reason."""
    assert word.isalnum()
    assert word[0].isupper()
    assert len(word) <= 128
