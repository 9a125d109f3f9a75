"""What the engine costs: processor time per request by phase, and memory, with a backend that computes nothing.

A task of four choices per doc is answered by the backend ``scripted``, with store and cache on and nothing cached.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from measuring import measured

ROOT = Path(__file__).parents[1]
CHOICES = 4
CHUNK = 64
PHASES = ("starting", "planning", "rendering", "looking up", "answering", "backend", "scoring", "finished")
_YAML = """task: overhead
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: label
doc_to_choice: choices
metric_list: [{metric: acc}]
metadata: {version: 1.0}
"""
_MANIFEST = """[[models]]
backend = "scripted"
model = "scripted"
options = { chunk = %d, streaming = %s }
[[tasks]]
name = "overhead"
[tasks_path]
paths = [%s]
"""


def write(folder: Path, requests: int, streaming: bool) -> Path:
    """Write docs, task and manifest; returns the manifest."""
    data = folder / "docs.jsonl"
    with data.open("w", encoding="utf-8") as file:
        for i in range(requests // CHOICES):
            question = f"Question {i}: which of these four numbers has to do with {i * 7919 % 10007}, and why?\nAnswer:"
            choices = [f"it is the number {i * (k + 3) % 997}, of course" for k in range(CHOICES)]
            file.write(json.dumps({"question": question, "choices": choices, "label": i % CHOICES}) + "\n")
    (folder / "overhead.yaml").write_text(_YAML % json.dumps(str(data)), encoding="utf-8")
    manifest = folder / "overhead.toml"
    text = _MANIFEST % (CHUNK, json.dumps(streaming), json.dumps(str(folder)))
    manifest.write_text(text, encoding="utf-8")
    return manifest


def line(requests: int, streaming: bool) -> str:
    """Measure a run of so many requests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, phases = write(folder, requests, streaming), folder / "phases.json"
        script = ROOT / "benchmarks" / "overheadbench" / "phases.py"
        places = ["--json", "--runs-dir", str(folder / "runs"), "--cache", str(folder / "cache.db")]
        command = [sys.executable, str(script), str(phases), "batch", str(manifest), *places]
        ended = measured(command, folder, {**os.environ, "PYTHONPATH": str(ROOT)})
        if ended.code:
            raise RuntimeError(ended.stderr)
        took: dict[str, float] = json.loads(phases.read_text(encoding="utf-8"))
    each = 1e6 / requests
    start = took["starting"]
    engine = sum(took.values()) - took["backend"] - start
    columns = "".join(f"{each * took[phase]:>11.1f}" for phase in PHASES[1:])
    return (
        f"{requests:>9,} {start:>8.2f} s{columns}{each * engine:>11.1f}  {ended.rss:>7.0f} MB {ended.seconds:>8.1f} s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", nargs="*", type=int, default=[100_000, 1_000_000], help="how many there are")
    parser.add_argument("--streaming", action="store_true", help="as to a server: requests of all jobs at once")
    options = parser.parse_args()
    print("µs of processor time per request; `engine`: all phases but the backend's own time and the start")
    names = "".join(f"{phase:>11}" for phase in PHASES[1:])
    print(f"{'requests':>9} {'start':>10}{names}{'engine':>11}  {'memory':>10} {'wall':>10}", flush=True)
    for requests in options.requests:
        print(line(requests, options.streaming), flush=True)


if __name__ == "__main__":
    main()
