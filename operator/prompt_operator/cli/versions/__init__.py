"""Verbs about PromptVersions: rehash, prune."""
