"""Gather, decide, apply: the keyed queue, the store of what was seen and the rule clock."""
