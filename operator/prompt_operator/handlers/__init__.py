"""kopf, as thin as possible: an event is remembered and wakes a key, nothing more."""
