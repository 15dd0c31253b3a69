"""Fuzz one target for so long: `python -m tests.fuzz condition --seconds 600` (Linux; atheris and libFuzzer do it).

Exits with 0 when nothing was found. On a finding it prints the bytes and the exception, and keeps the input in the
folder that it names.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["prompt_operator.core", "prompt_operator.cli", "lark", "yaml", "tests.fuzz"]):
    from tests.fuzz.seeds import seeds, words
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Prepare a corpus of sensible inputs and hand over to libFuzzer, which ends the process."""
    asked = _arguments()
    folder = asked.corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{asked.target}-"))
    corpus, found = folder / "corpus", folder / "found"
    for each in (corpus, found):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(asked.target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = folder / "words"
    dictionary.write_text("".join(f'"{word}"\n' for word in words()), encoding="ascii")
    print(f"corpus and findings are kept in {folder}", flush=True)  # noqa: T201  it is what the program is for
    options = [f"-dict={dictionary}", f"-artifact_prefix={found}/", "-max_len=2000", f"-max_total_time={asked.seconds}"]
    options += [f"-runs={asked.runs}"] if asked.runs else []
    atheris.Setup([sys.argv[0], str(corpus), "-print_final_stats=1", *options], TARGETS[asked.target])
    atheris.Fuzz()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="stop after so many seconds")
    parser.add_argument("--runs", type=int, default=0, help="stop after so many executions (0: no such limit)")
    parser.add_argument("--corpus", type=Path, help="folder for corpus and findings; a new temporary one by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
