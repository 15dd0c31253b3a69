"""The sample application: a support bot that asks a model and needs its answer as JSON.

It knows a folder and nothing of Kubernetes. `GET /metrics` is for Prometheus, `GET /state` tells what it serves and
how its answers fared, `GET /ask?question=…` answers one question.
"""

import argparse
import json
import os
import threading
import time
import urllib.parse
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

import prometheus_client

import prompt_client
from devcluster.demo import model
from devcluster.ports import LOOPBACK
from prompt_client import PromptUnavailable

PROMPT = "support-bot"
RATE = 20.0  # questions a second: 1,200 in the window of a minute
QUESTIONS = (
    "Has my order gone through?",
    "I want a refund for the blue lamp.",
    "How do I change my password?",
    "Where is my parcel?",
    "Can I add a second lamp to my order?",
    "When will my delivery arrive?",
    "Please let me talk to a person about my order.",
    "Can I get my money back for a broken cup?",
    "Which lamp did I order last time?",
    "My account is locked, what now?",
)
_ANSWER_FIELDS = {"topic": str, "answer": str, "escalate": bool}


class ValidationError(ValueError):
    """The model's answer is JSON, but not the JSON that was asked for."""


def parse(answer: str) -> dict[str, Any]:
    """Return the answer's fields; the rest of the shop's software relies on them.

    Raises:
        ValueError: it is no JSON object with these fields.
    """
    fields = json.loads(answer)
    for name, kind in _ANSWER_FIELDS.items():
        if not isinstance(fields, dict) or not isinstance(fields.get(name), kind):
            raise ValidationError(f"the answer has no {kind.__name__} {name!r}")
    return dict(fields)


@dataclass
class Tally:
    """How the answers made with one version fared; instants in seconds since the epoch."""

    asked: int = 0
    rejected: int = 0
    first_at: float = 0.0
    first_rejected_at: float | None = None


@dataclass
class Reply:
    """One question, and what became of it."""

    version: str
    hash: str
    question: str
    answer: str
    problem: str = ""


@dataclass
class Bot:
    """Answers questions with the prompt as it is served at that moment."""

    client: prompt_client.Client
    tallies: dict[str, Tally] = field(default_factory=dict)
    last: Reply | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, question: str) -> Reply:
        """Answer one question, and count whether the answer could be used.

        Raises:
            PromptUnavailable: nothing has been mounted yet.
        """
        prompt = self.client.get(PROMPT)
        reply = Reply(prompt.version, prompt.hash, question, "")
        with prompt.observe() as request:
            text = prompt.render(question=question)
            reply.answer = model.complete(text)
            request.tokens(input=len(text.split()), output=len(reply.answer.split()))
            try:
                parse(reply.answer)
            except ValueError as error:
                reply.problem = str(error)
                request.error("validation" if isinstance(error, ValidationError) else "parse")
        self._count(reply)
        return reply

    def state(self) -> dict[str, Any]:
        """What is served now, the tally of each version, and the last reply."""
        try:
            prompt = self.client.get(PROMPT)
        except PromptUnavailable:
            return {"version": None, "hash": None, "versions": {}, "last": None, "environment": sorted(os.environ)}
        with self.lock:
            return {
                "version": prompt.version,
                "hash": prompt.hash,
                "versions": {version: asdict(tally) for version, tally in self.tallies.items()},
                "last": asdict(self.last) if self.last else None,
                "environment": sorted(os.environ),
            }

    def work(self, rate: float) -> None:
        """Answer the usual questions at a steady rate, for ever."""
        due = time.monotonic()
        for question in cycle(QUESTIONS):
            try:
                self.ask(question)
            except PromptUnavailable:
                due = time.monotonic()  # nothing to make up for once the prompt is there
            due += 1 / rate
            time.sleep(max(due - time.monotonic(), 0.0))

    def _count(self, reply: Reply) -> None:
        now = time.time()
        with self.lock:
            tally = self.tallies.setdefault(reply.version, Tally(first_at=now))
            tally.asked += 1
            if reply.problem:
                tally.rejected += 1
                tally.first_rejected_at = tally.first_rejected_at or now
            self.last = reply


class _Handler(BaseHTTPRequestHandler):
    bot: ClassVar[Bot]

    def do_GET(self) -> None:
        """Answer Prometheus, and whoever wants to know or to ask."""
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/metrics":
            self._send(200, prometheus_client.generate_latest(), prometheus_client.CONTENT_TYPE_LATEST)
        elif url.path == "/state":
            self._send_json(200, self.bot.state())
        elif url.path == "/ask":
            self._ask(dict(urllib.parse.parse_qsl(url.query)).get("question", ""))
        else:
            self._send_json(404, {"error": "known are /metrics, /state and /ask?question=…"})

    def _ask(self, question: str) -> None:
        try:
            self._send_json(200, asdict(self.bot.ask(question)))
        except (PromptUnavailable, prompt_client.RenderError) as error:
            self._send_json(503, {"error": str(error)})

    def _send_json(self, status: int, body: object) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server gives it
        """Stay quiet: Prometheus asks every second."""


def main() -> None:
    """Serve on a free port of loopback and write that port to a file, whole or not at all."""
    parser = argparse.ArgumentParser(prog="support-bot")
    parser.add_argument("--port-file", type=Path, required=True)
    options = parser.parse_args()
    _Handler.bot = Bot(prompt_client.Client(namespace="support"))
    server = ThreadingHTTPServer((LOOPBACK, 0), _Handler)
    part = options.port_file.with_suffix(".part")
    part.write_text(str(server.server_port), "utf-8")
    part.replace(options.port_file)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    _Handler.bot.work(RATE)


if __name__ == "__main__":
    main()
