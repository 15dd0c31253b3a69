"""The texts at hand: bounded, and always the right ones."""

from __future__ import annotations

from prompt_operator.engine.texts import Texts


def test_what_was_kept_or_found_last_stays() -> None:
    """Room for two: the one that nobody asked for goes."""
    texts = Texts(room=25)
    texts.keep("a", {"text": "0123456789"})
    texts.keep("b", {"text": "0123456789"})
    assert texts.find("a") == {"text": "0123456789"}
    texts.keep("c", {"text": "0123456789"})
    assert texts.find("b") is None
    assert texts.find("a") is not None
    assert texts.find("c") is not None


def test_a_version_seen_again_takes_its_room_once() -> None:
    """Every change of a status brings the same text again."""
    texts = Texts(room=25)
    for _ in range(3):
        texts.keep("a", {"text": "0123456789"})
    texts.keep("b", {"messages": ["01234"]})
    assert texts.find("a") is not None
    assert texts.find("b") is not None


def test_what_is_larger_than_the_room_is_not_kept() -> None:
    """It is read, as all that is not at hand."""
    texts = Texts(room=25)
    texts.keep("a", {"text": "x" * 26})
    assert texts.find("a") is None
    texts.keep("b", {"outputSchema": {"a": 1}})
    assert texts.find("b") is not None
