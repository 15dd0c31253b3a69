"""The incidents of /diagnostics: one entry each, counted, and no more than a hundred."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prompt_operator.issues import Issues

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LATER = T0 + timedelta(minutes=5)


def test_an_incident_is_one_entry_that_is_counted_and_ends() -> None:
    """What is seen again belongs to the open incident; after its end the next sign begins another."""
    issues = Issues()
    assert issues.seen("metric source a", "refused", T0)
    assert not issues.seen("metric source a", "timeout", LATER)
    assert issues.over("metric source a", LATER)
    assert not issues.over("metric source a", LATER)
    assert issues.seen("metric source a", "refused", LATER)
    newest, oldest = issues.document()
    assert (newest["count"], newest["until"]) == (1, None)
    assert (oldest["count"], oldest["message"]) == (2, "timeout")
    assert (oldest["since"], oldest["lastSeen"], oldest["until"]) == (
        T0.isoformat(),
        LATER.isoformat(),
        LATER.isoformat(),
    )


def test_the_last_hundred_are_kept() -> None:
    """An operator that runs for a year does not grow by its troubles."""
    issues = Issues()
    for number in range(150):
        issues.seen("metric source a", str(number), T0)
        issues.over("metric source a", T0)
    assert [issue["message"] for issue in issues.document()] == [str(number) for number in range(149, 49, -1)]
