"""Asks the questions of a file with inspect_ai; run by the Python of its environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(data: str, logs: str, concurrency: int, max_tokens: int) -> None:
    """Evaluate, and say how many samples have an answer."""
    from inspect_ai import Task, eval  # noqa: A004 - its name for it
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import GenerateConfig
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate

    rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    samples = [Sample(input=row["question"], target=row["answer"], id=i) for i, row in enumerate(rows)]
    config = GenerateConfig(max_connections=concurrency, max_tokens=max_tokens, temperature=0, stop_seqs=["\n\n"])
    task = Task(dataset=MemoryDataset(samples), solver=generate(), scorer=match(), config=config)
    (log,) = eval(task, model="openai-api/bench/tiny", log_dir=logs, display="none", max_samples=concurrency)
    answered = sum(1 for sample in log.samples or () if sample.error is None)
    print(json.dumps({"status": log.status, "answered": answered}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
