"""The two programs: how each is started, and what it answered."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import Ended, measured

from lmrun.requests import Request, Response
from lmrun.store.query import SampleQuery
from lmrun.store.reader import RunReader
from lmrun.store.runs import RunDirectory
from localbench.tasks import Work

ROOT = Path(__file__).parents[2]
_QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
_COUNTED = ("forwarded_tokens", "probed_tokens", "decoded_tokens", "distinct_tokens")

Answers = Mapping[tuple[int, int], float | str]
"""By doc and request: the log-probability, or the text."""


@dataclass(frozen=True)
class Setting:
    """What is the same for both programs."""

    folder: Path
    model: Path
    dtype: str
    device: str

    def environment(self) -> Mapping[str, str]:
        """Of every process: no network, and caches of its own."""
        return {**os.environ, **_QUIET, "HF_HOME": str(self.folder / "hf"), "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Result:
    """A process that has ended well, and what it found."""

    ended: Ended
    metrics: Mapping[str, float]
    answers: Answers
    counts: Mapping[str, int]
    """Tokens that went through the model; of lmrun only."""
    requests: Sequence[tuple[Request, Response]] = ()


@dataclass(frozen=True)
class Lmrun:
    """``lmrun batch`` with store and cache, and nothing cached."""

    setting: Setting

    def run(self, work: Work) -> Result:
        """Answer all docs of a work."""
        new = self.setting.folder / f"lmrun-{time.time_ns()}"
        new.mkdir()
        places = ["--runs-dir", str(new), "--cache", str(new / "cache.db"), "--json"]
        command = [sys.executable, "-m", "lmrun", "batch", str(self._manifest(work, new)), *places]
        ended = _succeeded(measured(command, new, self.setting.environment()))
        directory = next(RunDirectory(path.parent) for path in new.glob("*/run.db"))
        reader = RunReader(directory)
        try:
            answers = {(doc, position): pair for doc, position, pair in _exchanges(reader)}
            (job,) = reader.jobs()
            metrics = {m.metric: m.value for m in reader.metrics(job.id)}
        finally:
            reader.close()
        values = {place: _value(response) for place, (_, response) in answers.items()}
        return Result(ended, metrics, values, _counted(directory), list(answers.values()))

    def _manifest(self, work: Work, folder: Path) -> Path:
        setting = self.setting
        values = {"backend": "hf", "model": str(setting.model), "dtype": setting.dtype, "device": setting.device}
        lines = ["[[models]]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        lines += ["[[tasks]]", f'name = "{work.task}"']
        lines += ["[tasks_path]", f"paths = [{json.dumps(str(setting.folder / 'tasks'))}]"]
        path = folder / "bench.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


def _exchanges(reader: RunReader) -> Iterator[tuple[int, int, tuple[Request, Response]]]:
    for row in reader.samples(SampleQuery()):
        for exchange in reader.sample(row.id).exchanges:
            if exchange.response is None or exchange.response.error:
                raise RuntimeError(f"doc {row.doc_id} was not answered: {exchange.response}")
            yield row.doc_id, exchange.position, (exchange.request, exchange.response)


def _value(response: Response) -> float | str:
    return response.logprob if response.logprob is not None else response.text or ""


def _counted(directory: RunDirectory) -> dict[str, int]:
    """What the backend says that it has computed."""
    lines = map(json.loads, directory.log.read_text(encoding="utf-8").splitlines())
    facts: Mapping[str, Any] = next(line["facts"] for line in lines if line["event"] == "model ended")
    return {name: facts[name] for name in _COUNTED if facts.get(name) is not None}


@dataclass(frozen=True)
class LmEval:
    """lm-eval's ``hf`` model."""

    setting: Setting
    python: str
    batch_size: int

    def run(self, work: Work) -> Result:
        """Answer all docs of a work."""
        setting = self.setting
        new = setting.folder / f"lm-eval-{time.time_ns()}"
        new.mkdir()
        model = f"pretrained={setting.model},dtype={setting.dtype}"
        command = [self.python, "-m", "lm_eval", "--model", "hf", "--model_args", model, "--tasks", work.task]
        command += ["--device", setting.device, "--batch_size", str(self.batch_size), "--output_path", str(new)]
        command += ["--log_samples", "--include_path", str(setting.folder / "tasks")]
        ended = _succeeded(measured(command, new, setting.environment()))
        results = json.loads(next(new.rglob("results_*.json")).read_text(encoding="utf-8"))["results"][work.task]
        metrics = {name.split(",")[0]: value for name, value in results.items() if name.endswith(",none")}
        lines = next(new.rglob("samples_*.jsonl")).read_text(encoding="utf-8").splitlines()
        answers = {
            (sample["doc_id"], position): _answer(responses[0])
            for sample in map(json.loads, lines)
            for position, responses in enumerate(sample["resps"])
        }
        return Result(ended, metrics, answers, {})


def _answer(response: Any) -> float | str:
    """A text; or a log-probability, which stands with whether it is greedy where something was scored."""
    if isinstance(response, list):
        return float(response[0])
    return response if isinstance(response, str) else float(response)


def _succeeded(ended: Ended) -> Ended:
    if ended.code:
        raise RuntimeError(f"exit code {ended.code}:\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")
    return ended
