"""Runs as separate processes: something to kill, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0
"""Seconds after which a process that should have got somewhere counts as stuck."""
_POLL = 0.005
BATCH = 8
"""Requests that a scripted model is handed at once."""

TASKS = {
    "choice.yaml": """
task: fault_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{gold}}"
doc_to_choice: "{{choices}}"
num_fewshot: 2
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 1.0}
""",
    "generate.yaml": """
task: fault_generate
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
filter_list:
  - name: number
    filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]
metric_list: [{metric: exact_match}]
metadata: {version: 1.0}
""",
    "rolling.yaml": """
task: fault_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} {{answer}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
metadata: {version: 1.0}
""",
}


def write_tasks(folder: Path, docs: int) -> Path:
    """Three small tasks, one per kind of request, with their data beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "docs.jsonl").open("w", encoding="utf-8") as file:
        for i in range(docs):
            numbers = [(i * 7 + k * 3) % 50 for k in range(4)]
            question = f"What is {i} plus {numbers[0]}?"
            row = {"question": question, "answer": str(i + numbers[0]), "choices": [str(i + n) for n in numbers]}
            file.write(json.dumps({**row, "gold": i % 4}) + "\n")
    for name, text in TASKS.items():
        data = json.dumps(str(folder / "docs.jsonl"))
        (folder / name).write_text(text.lstrip().replace("DATA", data), encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Workload:
    """A manifest and the folder of one series of processes that run it."""

    folder: Path
    model: Mapping[str, Any]
    tasks: Path
    name: str = "faults"
    cache: Path | None = None
    """None: a cache of its own."""
    options: Mapping[str, Any] = field(default_factory=lambda: {"chunk": BATCH, "latency_ms": 30})
    """Of a scripted model."""

    def command(self) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = self.folder / "manifest.toml"
        lines = [f'name = "{self.name}"', "[[models]]", 'name = "model"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in self.model.items()]
        if self.model["backend"] == "scripted":
            options = {**self.options, "calls": str(self.folder / "calls.txt")}
            lines += ["[models.options]", *(f"{key} = {json.dumps(value)}" for key, value in options.items())]
        for task in ("fault_choice", "fault_generate", "fault_rolling"):
            lines += ["[[tasks]]", f'name = "{task}"']
        lines += ["[tasks_path]", f"paths = [{json.dumps(str(self.tasks))}]", "[data]", "offline = true"]
        manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
        cache = self.cache or self.folder / "cache.db"
        places = ["--runs-dir", str(self.runs_dir), "--cache", str(cache)]
        return [sys.executable, "-m", "lmrun", "batch", str(manifest), "--json", *places]

    @property
    def runs_dir(self) -> Path:
        return self.folder / "runs"

    def start(self) -> subprocess.Popen[str]:
        """Start the run, or continue it."""
        command = self.command()
        with (self.folder / "stderr.txt").open("a", encoding="utf-8") as stderr:
            return subprocess.Popen(
                command, cwd=self.folder, env=self._environment(), stdout=subprocess.DEVNULL, stderr=stderr, text=True
            )

    def _environment(self) -> dict[str, str]:
        mine = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **mine}

    def finish(self) -> float:
        """Run to the end; returns how many seconds it took to get the next answer."""
        started, before = time.monotonic(), self.computed()
        process = self.start()
        self.wait_for(process, before + 1)
        start = time.monotonic() - started
        code = process.wait(timeout=PATIENCE)
        assert code == 0, f"ended with {code}:\n{self.stderr()[-4000:]}"
        return start

    def stderr(self) -> str:
        return (self.folder / "stderr.txt").read_text(encoding="utf-8")

    def runs(self) -> list[Path]:
        """Run directories, oldest first."""
        return sorted(p for p in self.runs_dir.iterdir() if p.is_dir()) if self.runs_dir.is_dir() else []

    # -- what has been done so far -------------------------------------------------------------------------------------

    def computed(self) -> int:
        """Answers that a backend gave and that are on disk, in all runs of this workload."""
        total = 0
        for run in self.runs():
            try:
                db = sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True, timeout=5)
            except sqlite3.OperationalError:
                continue
            try:
                total += int(db.execute("SELECT count(*) FROM responses WHERE source = 'computed'").fetchone()[0])
            except sqlite3.OperationalError:  # killed or looked at before the tables were there
                continue
            finally:
                db.close()
        return total

    def batches(self) -> int:
        """Batches that were started, also those that were cut short."""
        logs = [run / "log.jsonl" for run in self.runs()]
        lines = [line for log in logs if log.is_file() for line in log.read_text(encoding="utf-8").splitlines()]
        return sum('"event": "batch"' in line for line in lines)

    def asked(self) -> list[str]:
        """Content keys of all requests that the scripted model was asked, also those whose answer never came back."""
        calls = self.folder / "calls.txt"
        return calls.read_text(encoding="utf-8").split() if calls.is_file() else []

    def wait_for(self, process: subprocess.Popen[str], answers: int) -> None:
        """Return when so many answers are on disk, or the process has ended."""
        until = time.monotonic() + PATIENCE
        while process.poll() is None and self.computed() < answers:
            assert time.monotonic() < until, f"no {answers} answers after {PATIENCE} s:\n{self.stderr()[-2000:]}"
            time.sleep(_POLL)

    # -- what it ended with --------------------------------------------------------------------------------------------

    def results(self) -> str:
        """The results file of the last run, less what names the run and the time."""
        values = json.loads((self.runs()[-1] / "results" / "model.json").read_text(encoding="utf-8"))
        for name in ("date", "lmrun"):
            values.pop(name, None)
        return json.dumps(values, indent=1)

    def samples(self) -> str:
        """Every sample of the last run with its requests, answers and scores, as the command prints them."""
        command = [sys.executable, "-m", "lmrun", "show", str(self.runs()[-1]), "--model", "model", "-n", "100000"]
        done = subprocess.run(
            [*command, "--json"], env=self._environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def kill(process: subprocess.Popen[str]) -> bool:
    """SIGKILL; whether the process was still there to be killed."""
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    return process.wait(timeout=PATIENCE) == -signal.SIGKILL
