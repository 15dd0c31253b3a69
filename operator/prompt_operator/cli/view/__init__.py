"""Verbs that only show: get, history, diff."""
