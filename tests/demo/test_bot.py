"""The sample application and its stub of a model: only the served text decides what fails."""

from pathlib import Path

import prometheus_client
import pytest
import yaml

import prompt_client
from devcluster.demo import model
from devcluster.demo.bot import QUESTIONS, Bot, ValidationError, parse
from devcluster.demo.story import SAMPLES
from devcluster.watch import Json


def _spec(name: str) -> Json:
    spec: Json = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text("utf-8"))["spec"]
    return {"text": spec["text"], "variables": spec["variables"]}


def _bot(folder: Path, name: str) -> Bot:
    registry = prometheus_client.CollectorRegistry()
    return Bot(prompt_client.Client(folder, fallbacks={"support-bot": _spec(name)}, reload="off", registry=registry))


@pytest.mark.parametrize("name", ["version-1.0.0", "version-1.1.1"])
def test_good_texts_give_answers_the_application_can_use(tmp_path: Path, name: str) -> None:
    """Neither the first version nor the corrected one makes any of the usual questions fail."""
    bot = _bot(tmp_path, name)

    assert [reply.problem for reply in map(bot.ask, QUESTIONS)] == [""] * len(QUESTIONS)


def test_the_bad_text_fails_for_the_topics_it_names(tmp_path: Path) -> None:
    """1.1.0 makes the model write a letter about refunds and deliveries, and the parser rejects only those."""
    bot = _bot(tmp_path, "version-1.1.0")

    for question in QUESTIONS:
        assert bool(bot.ask(question).problem) == (model.topic_of(question) in {"refund", "delivery"})
    tally = bot.state()["versions"]["fallback"]
    assert (tally["asked"], tally["rejected"]) == (10, 4)


def test_the_model_follows_the_text(tmp_path: Path) -> None:
    """1.1.1 changes the tone of the same answer, and a text that asks for no JSON gets none."""
    question = "I want a refund for the blue lamp."
    before, after = (_bot(tmp_path, name).ask(question) for name in ("version-1.0.0", "version-1.1.1"))

    assert parse(after.answer)["answer"] == "We are sorry for the trouble. " + parse(before.answer)["answer"]
    assert model.complete("Be brief.\nCustomer: Has my order gone through?").startswith("Your order")


def test_json_without_the_fields_is_rejected() -> None:
    """The parser wants the fields by name and kind, and says which one is missing."""
    with pytest.raises(ValidationError, match="bool 'escalate'"):
        parse('{"topic": "order", "answer": "yes"}')
    with pytest.raises(ValidationError, match="str 'topic'"):
        parse('["order"]')
