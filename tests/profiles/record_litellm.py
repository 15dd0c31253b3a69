"""Record the metrics of a LiteLLM proxy: `python -m tests.profiles.record_litellm PATH/OF/litellm`.

Needs an environment with `litellm[proxy]` and `prometheus_client`, which is far too large for the tests. The proxy runs
on loopback with a stub of a model behind it; the stub fails, waits or answers as the text of a request says.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml
from tests.profiles.recording import Recording, save

from devcluster.ports import LOOPBACK, free_port

INPUT, OUTPUT = 11, 7
"""Tokens of each answer."""
COST = INPUT * 0.15e-6 + OUTPUT * 0.6e-6
"""US dollars of each answer, from the price list that comes with LiteLLM."""
SLOW = 0.7
"""Seconds."""
PROMPT = {"prompt_namespace": "shop", "prompt": "bot", "prompt_version": "1.0.0"}
TRAFFIC = ["fail"] * 15 + ["slow"] * 9 + ["hello"] * 36


class Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible model that does what it is told."""

    asked = 0

    def do_POST(self) -> None:
        """Answer one chat completion."""
        type(self).asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        time.sleep(SLOW if text == "slow" else 0.0)
        failed: dict[str, Any] = {"error": {"message": "stub", "type": "server_error"}}
        status, answer = (500, failed) if text == "fail" else (200, _completion(body["model"]))
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _completion(model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "ok"}
    return {
        "id": "one",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT},
    }


def main(program: str) -> None:
    """Run the proxy, send traffic between two scrapes, and save what it exposed."""
    model = ThreadingHTTPServer((LOOPBACK, 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    url, key = f"http://{LOOPBACK}:{(port := free_port())}", f"sk-{secrets.token_hex(24)}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump(_config(f"http://{LOOPBACK}:{model.server_port}/v1")), "utf-8")
        env = {**os.environ, "LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [program, "--config", str(config), "--host", LOOPBACK, "--port", str(port)]
        proxy = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        try:
            save("litellm", _recorded(url, key, program))
        finally:
            proxy.terminate()
            proxy.wait(30)


def _config(model: str) -> dict[str, Any]:
    params = {"model": "openai/gpt-4o-mini", "api_base": model, "api_key": "none"}
    return {
        "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": params}],
        "router_settings": {"num_retries": 2},
        "litellm_settings": {
            "callbacks": ["prometheus"],
            "custom_prometheus_metadata_labels": [f"metadata.{name}" for name in PROMPT],
            "require_auth_for_metrics_endpoint": False,
        },
    }


def _recorded(url: str, key: str, program: str) -> Recording:
    _wait(url)
    for text in ("hello", "fail"):  # a series begins with its first event: these are not part of the growth
        _ask(url, key, text)
    before = _scrape(url, 2)
    asked = Model.asked
    for text in TRAFFIC:
        _ask(url, key, text)
    answered = len(TRAFFIC) - TRAFFIC.count("fail")
    done = {
        "requests": len(TRAFFIC),
        "errors": TRAFFIC.count("fail"),
        "input_tokens": answered * INPUT,
        "output_tokens": answered * OUTPUT,
        "cost": answered * COST,
    }
    after = _scrape(url, 2 + len(TRAFFIC))
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    about = {
        "library": f"litellm {shown}",
        "date": datetime.now(tz=UTC).date().isoformat(),
        "by": Path(__file__).name,
        "asked of the model": Model.asked - asked,
        "done": done,
    }
    return Recording(before, after, about)


def _wait(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{url}/health/liveliness", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.5)
    raise SystemExit("the proxy did not start")


def _ask(url: str, key: str, text: str) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "metadata": PROMPT}
    requests.post(f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def _scrape(url: str, events: int) -> str:
    """Return the metrics once every request so far is counted: LiteLLM counts a moment after it answers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = requests.get(f"{url}/metrics", timeout=5).text
        counted = sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if _is_of_prompt(line))
        if counted >= events:
            return text
        time.sleep(0.5)
    raise SystemExit(f"only {counted:g} of {events} requests were counted")


def _is_of_prompt(line: str) -> bool:
    names = ("litellm_request_total_latency_metric_count{", "litellm_llm_api_failed_requests_metric_total{")
    return line.startswith(names) and f'prompt="{PROMPT["prompt"]}"' in line


if __name__ == "__main__":
    main(sys.argv[1])
