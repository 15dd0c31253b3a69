"""The one error a person sees."""


class DevError(Exception):
    """Something outside this code is missing or broken; the message is one sentence that says what to do."""
