"""Verbs that set one field or annotation of a Prompt: suspend, resume, fallback, enable, review."""
