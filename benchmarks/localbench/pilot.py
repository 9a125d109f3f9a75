"""Which batch size suits lm-eval: run with its Python, ``pilot.py MODEL DTYPE DEVICE TASK TASKS DOCS PER_DOC SIZE …``.

Prints by size the seconds per doc as JSON, of so many docs as fill a batch; loading is left out.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

_LEAST = 8


def main(model: str, dtype: str, device: str, task: str, tasks: str, docs: str, per_doc: str, *sizes: str) -> None:
    """Measure and print."""
    from lm_eval import simple_evaluate  # type: ignore[import-not-found, unused-ignore]
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found, unused-ignore]
    from lm_eval.tasks import TaskManager  # type: ignore[import-not-found, unused-ignore]

    manager = TaskManager(include_path=tasks, include_defaults=False)
    asked: Any = HFLM(pretrained=model, dtype=dtype, device=device)
    took = {}
    for size in map(int, sizes):
        asked.batch_size_per_gpu = size
        limit = min(int(docs), max(_LEAST, size // int(per_doc)))
        start = time.perf_counter()
        simple_evaluate(asked, tasks=[task], task_manager=manager, limit=limit, bootstrap_iters=0)
        took[size] = (time.perf_counter() - start) / limit
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
