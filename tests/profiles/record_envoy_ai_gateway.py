"""Record Envoy AI Gateway: `python -m tests.profiles.record_envoy_ai_gateway PATH/OF/SOURCES RELEASE`.

Needs the gateway's sources of that release, and Go. The gateway's own package of metrics counts the requests; no Envoy
runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.profiles.recording import Recording, save

LABELS = "x-prompt-namespace:prompt_namespace,x-prompt-name:gen_ai.prompt.name,x-prompt-version:gen_ai.prompt.version"
"""`controller.metricsRequestHeaderAttributes`, as docs/metrics-profiles.md has it."""


def main(sources: str, release: str) -> None:
    """Build the recorder within the sources, run it, and save what it exposed."""
    package = Path(sources, "cmd", "record")
    package.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_suffix(".go"), package / "main.go")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["go", "build", "-o", f"{folder}/record", "./cmd/record"], cwd=sources, check=True)
        subprocess.run([f"{folder}/record", LABELS], cwd=folder, check=True)
        before, after = (Path(folder, name).read_text("utf-8") for name in ("before.prom", "after.prom"))
    about = {
        "library": f"github.com/envoyproxy/ai-gateway/internal/metrics {release}",
        "date": datetime.now(tz=UTC).date().isoformat(),
        "by": Path(__file__).name,
        "done": {
            "requests": 60,
            "errors": 15,
            "latency_sum": 71.7,
            "latency_count": 60,
            "input_tokens": 45 * 11,
            "output_tokens": 45 * 7,
        },
    }
    save("envoy-ai-gateway", Recording(before, after, about))


if __name__ == "__main__":
    main(*sys.argv[1:])
