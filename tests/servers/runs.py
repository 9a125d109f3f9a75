"""Small tasks of every kind, and runs of them on a model behind a backend."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.backends.make import WORDS
from tests.toml import toml_lines

ROOT = Path(__file__).resolve().parents[2]
SCORED = ("real_words", "real_choices", "real_rolling")
"""Tasks that need log-probabilities: choices of one token, of several, and whole texts."""
LONG = "real_long"
"""Texts that do not fit into a context at once."""
GENERATED = ("real_generate", "real_prefix")
DOCS = 8
CONTEXT = 256
"""Tokens that the model takes at once, in all runs."""
_CHOICE = """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{gold}}"
num_fewshot: 1
fewshot_config: {sampler: first_n, samples: [{question: "does rain fell?", gold: 0, words: ["yes", "no", "maybe"],
  phrases: ["because the cat sat", "no", "by the door while rain fell"]}]}
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
_ROLLING = """
output_type: loglikelihood_rolling
doc_to_text: ""
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
"""
TASKS = {
    "real_words": _CHOICE + 'doc_to_choice: "{{words}}"\n',
    "real_choices": _CHOICE + 'doc_to_choice: "{{phrases}}"\n',
    "real_generate": """
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{words[gold]}}"
generation_kwargs: {until: ["\\n\\n", "choice"], max_gen_toks: 24, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "real_prefix": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{words[gold]}}"
gen_prefix: "the cat"
generation_kwargs: {until: ["<|user|>"], max_gen_toks: 16, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "real_riddles": """
output_type: generate_until
doc_to_text: "{{riddle}}"
doc_to_target: "{{solution}}"
generation_kwargs: {until: ["sat", "fell"], max_gen_toks: 48, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "real_rolling": _ROLLING + 'doc_to_target: "{{text}}"\n',
    "real_long": _ROLLING + 'doc_to_target: "{{text * 9}}"\n',
}
"""A stop of ``real_riddles`` stands in the reasoning, where it must not stop anything."""
_COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
metadata: {{version: 1.0}}
"""


def hf(model: Path, **options: Any) -> dict[str, Any]:
    """Table of the model in the process itself."""
    table = {"backend": "hf", "model": str(model), "dtype": "float32", "device": "cpu", "max_length": CONTEXT}
    return {**table, **options}


def docs() -> list[dict[str, Any]]:
    """Rows of all tasks."""
    rows = []
    riddles = {"the cat?": "yes", "the dog?": "no", "the rain?": "maybe"}
    for i, (riddle, solution) in zip(range(DOCS), itertools.cycle(riddles.items()), strict=False):
        turned = WORDS[3 * i :] + WORDS[: 3 * i]
        text = " ".join(turned) + " … été 7."
        row = {"question": f"{' '.join(turned[:5])}?", "text": text, "gold": i % 3}
        row |= {"words": ["yes", "no", "maybe"], "phrases": [" ".join(turned[5:8]), "no", " ".join(turned[8:15]) + "!"]}
        rows.append({**row, "riddle": riddle, "solution": solution})
    return rows


@dataclass(frozen=True)
class Asked:
    """What came of a run."""

    code: int
    said: str
    """Everything that the command printed."""
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    """By task, in doc order."""
    scores: Mapping[tuple[str, str], Any]
    """(task, metric) → value."""

    def responses(self, task: str) -> list[dict[str, Any]]:
        """All responses of a task."""
        return [
            dict(request["response"] or {}) for sample in self.samples[task] for request in sample["requests"] or ()
        ]


class Folder:
    """A folder with the tasks, in which runs are made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runs = itertools.count()
        tasks = path / "tasks"
        tasks.mkdir()
        data = tasks / "docs.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in docs()), encoding="utf-8")
        for name, text in TASKS.items():
            common = _COMMON.format(data=json.dumps(str(data)))
            (tasks / f"{name}.yaml").write_text(f"task: {name}\n{text.strip()}\n{common.strip()}\n", encoding="utf-8")

    def ask(
        self,
        model: Mapping[str, Any],
        tasks: Sequence[str] = (*SCORED, LONG, *GENERATED),
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> Asked:
        """Run tasks on a model, by some Python, with nothing from any cache."""
        runs = self.path / f"runs-{next(self._runs)}"
        manifest = self._manifest(model, tasks, settings or {})
        places = ("--runs-dir", str(runs), "--fresh", "--no-cache", "--json")
        done = self._lmrun("batch", str(manifest), *places, environment=environment, python=python)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if not lines or lines[-1]["event"] != "done":
            return Asked(done.returncode, done.stdout + done.stderr, {}, {})
        scores = {(row["label"], row["metric"]): row["value"] for row in lines[-1]["results"]}
        return Asked(done.returncode, done.stdout + done.stderr, self._samples(lines[-1]["path"]), scores)

    def _samples(self, run: str) -> dict[str, list[dict[str, Any]]]:
        shown = self._lmrun("show", run, "--model", "model", "-n", "100000", "--json")
        assert shown.returncode == 0, shown.stderr
        samples: dict[str, list[dict[str, Any]]] = {}
        for line in filter(None, shown.stdout.split("\n")):
            row = json.loads(line)
            samples.setdefault(row["task"], []).append(row)
        return samples

    def _manifest(self, model: Mapping[str, Any], tasks: Sequence[str], settings: Mapping[str, Any]) -> Path:
        lines = ["[[models]]", *toml_lines({"name": "model", **model})]
        for task in tasks:
            lines += ["[[tasks]]", *toml_lines({"name": task, **settings})]
        lines += ["[tasks_path]", *toml_lines({"paths": ["tasks"]})]
        path = self.path / "servers.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _lmrun(
        self, *arguments: str, environment: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        command = [python, "-m", "lmrun", *arguments]
        return subprocess.run(command, cwd=self.path, env=settings, capture_output=True, text=True, check=False)
