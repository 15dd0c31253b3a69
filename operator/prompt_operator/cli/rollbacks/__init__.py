"""Verbs about going back, and about what may come in again: rollback, release, retry, ack."""
