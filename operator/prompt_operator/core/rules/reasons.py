"""Why a condition was judged as it was: a closed set."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a comparison, or a whole condition, is true, false or unknown."""

    BREACHED = "Breached"
    """True: the value is beyond the threshold, and so is its confidence bound where there is one."""
    WITHIN_BOUNDS = "WithinBounds"
    """False: the value is not beyond the threshold."""
    NOT_CONFIDENT = "NotConfident"
    """False: the value is beyond the threshold, its confidence bound is not."""
    NO_DATA = "NoData"
    """Unknown: a series that the metric needs does not exist, or nothing happened in the window."""
    TOO_FEW_SAMPLES = "TooFewSamples"
    """Unknown: fewer samples than the minimum."""
    NO_BASELINE = "NoBaseline"
    """Unknown: the baseline is missing, zero or not a number."""
    NOT_A_NUMBER = "NotANumber"
    """Unknown: NaN, infinite, negative or divided by zero."""
    DUPLICATE_SERIES = "DuplicateSeries"
    """Unknown: two answers for the same identity."""
    INCONSISTENT = "Inconsistent"
    """Unknown: the parts contradict each other (more errors than requests, a histogram that is not cumulative)."""
    NOT_MEASURED = "NotMeasured"
    """Unknown: the metric profile in force has no source for it, so no series ever will."""
    BEYOND_BUCKETS = "BeyondBuckets"
    """Unknown: the value lies above the highest bucket bound, and so does the threshold."""
    QUERY_FAILED = "QueryFailed"
    """Unknown: the query failed or its answer was not whole."""
    NOT_RECORDED = "NotRecorded"
    """Unknown: the window is read from recorded series, and Prometheus does not evaluate the recording rules."""
    RECORDED_IN_PART = "RecordedInPart"
    """Unknown: the window is read from recorded series, and they cover too little of it."""


GAPS = frozenset({Reason.NOT_RECORDED, Reason.RECORDED_IN_PART})
"""Prometheus answered, but nobody recorded the window."""
