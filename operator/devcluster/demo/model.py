"""A stub of a language model: it does what the prompt says, as far as this sample's prompts go.

There is no chance in it and no switch: what it answers depends on the text it is given and on nothing else.
"""

import json
import re
from dataclasses import dataclass

_WORDS = {
    "refund": ("refund", "money back"),
    "delivery": ("delivery", "parcel", "arrive"),
    "account": ("password", "account"),
}
_ANSWERS = {
    "refund": "A refund takes three working days. It goes to the card you paid with.",
    "delivery": "Your parcel left us yesterday. It should be with you within two days.",
    "account": "Use the link under the sign-in form. It lets you choose a new password.",
    "order": "Your order is confirmed. You can change it until it is packed.",
}
_WARM = "We are sorry for the trouble."
_FIELD = re.compile(r'"(\w+)":')


@dataclass(frozen=True)
class _Instructions:
    """What the prompt asks for, for one topic."""

    fields: tuple[str, ...]  # of the JSON object; none: prose
    warm: bool


def complete(prompt: str) -> str:
    """Answer a rendered prompt whose last line is `Customer: <question>`."""
    text, _, question = prompt.rpartition("Customer:")
    topic = topic_of(question)
    wanted = _read(text, topic)
    answer = f"{_WARM} {_ANSWERS[topic]}" if wanted.warm else _ANSWERS[topic]
    if not wanted.fields:
        return answer
    values = {"topic": topic, "answer": answer, "escalate": "person" in question.lower()}
    return json.dumps({name: values.get(name, "") for name in wanted.fields})


def topic_of(question: str) -> str:
    """Return what the customer wants to know about."""
    lower = question.lower()
    return next((topic for topic, words in _WORDS.items() if any(word in lower for word in words)), "order")


def _read(text: str, topic: str) -> _Instructions:
    """Follow the lines one by one; a line that says `When` counts only for the topics it names."""
    fields: tuple[str, ...] = ()
    warm = False
    for line in text.splitlines():
        if line.startswith("When") and topic not in line:
            continue
        if line.startswith("{"):
            fields = tuple(_FIELD.findall(line))
        if "plain text" in line:
            fields = ()
        warm = warm or "warm" in line
    return _Instructions(fields, warm)
