"""Class tasks for the tests, and rows for them: written once, run by lm-eval and by lmrun."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CODE = '''
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask


class Mixed(ConfigurableTask):
    """Asks for a generation and for two likelihoods, the second of them first."""

    VERSION = 3
    DATASET_PATH = "invented/questions"
    DATASET_NAME = None

    def __init__(self, config=None):
        super().__init__(config={"metadata": {"version": self.VERSION}})
        self.bonus = config["bonus"]

    def has_training_docs(self):
        return True

    def has_validation_docs(self):
        return True

    def has_test_docs(self):
        return False

    def training_docs(self):
        return self.dataset["train"]

    def validation_docs(self):
        return self.dataset["validation"].filter(lambda doc: doc["id"] != 3)

    def doc_to_text(self, doc, doc_to_text=None):
        return f"Question: {doc['question']}\\nAnswer:"

    def doc_to_target(self, doc, doc_to_target=None):
        return doc["answer"]

    def construct_requests(self, doc, ctx, chat_template=None, apply_chat_template=False, **kwargs):
        return [
            Instance(request_type="loglikelihood", doc=doc, arguments=(ctx, " no"), idx=1, **kwargs),
            Instance(request_type="generate_until", doc=doc, arguments=(ctx, {"until": ["\\n"]}), idx=0, **kwargs),
            Instance(request_type="loglikelihood", doc=doc, arguments=(ctx, " yes"), idx=1, **kwargs),
        ]

    def process_results(self, doc, results):
        text, (no, greedy), (yes, _) = results
        return {
            "length": len(text) + self.bonus,
            "yes": np.float64(yes > no),
            "pair": (np.int64(greedy), doc["id"]),
        }

    def aggregation(self):
        return {"length": np.mean, "yes": mean, "pair": lambda items: sum(a * b for a, b in items)}

    def higher_is_better(self):
        return {"length": False, "yes": True, "pair": True}


class FromConfig(ConfigurableTask):
    """A configuration with templates; only the score is code."""

    def __init__(self):
        super().__init__(config={
            "dataset_path": "invented/questions", "validation_split": "validation", "training_split": "train",
            "output_type": "multiple_choice", "doc_to_text": "{{question}}?", "doc_to_target": "label",
            "doc_to_choice": ["yes", "no"], "description": "Say it.\\n", "process_docs": self.numbered,
            "metric_list": [{"metric": "acc"}], "metadata": {"version": 1.5},
        })

    @staticmethod
    def numbered(docs):
        return docs.map(lambda doc: {"question": f"{doc['id']}. {doc['question']}"})

    def process_results(self, doc, results):
        return {"acc": float(max(results)[1] == doc["label"])}

    def aggregation(self):
        return {"acc": mean}

    def higher_is_better(self):
        return {"acc": True}
'''
TASKS = {
    "mixed_class": ("Mixed", "bonus: 2"),
    "mixed_class_more": ("Mixed", "bonus: 5"),
    "config_class": ("FromConfig", ""),
}
UPSTREAM = {
    "fda": "hazyresearch/based-fda",
    "swde": "hazyresearch/based-swde-v2",
    "squad_completion": "hazyresearch/based-squad",
}


def write_tasks(folder: Path) -> Path:
    """A folder with the class tasks."""
    folder.mkdir(parents=True)
    (folder / "task.py").write_text(CODE)
    for name, (cls, more) in TASKS.items():
        code = hashlib.sha256(CODE.encode()).hexdigest()
        (folder / f"{name}.yaml").write_text(f"# {code}\ntask: {name}\nclass: !function task.{cls}\n{more}\n")
    return folder


def write_mirror(folder: Path) -> Path:
    """A mirror with rows for these tasks, and for three of lm-eval's own."""
    texts = [{"text": f"The {n} is called", "value": f"name {n}", "doc_id": str(n)} for n in range(6)]
    questions = [
        {"id": n, "question": f"is {n} even", "answer": ("yes", "no")[n % 2], "label": n % 2} for n in range(12)
    ]
    datasets: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {
        ("invented/questions", "default"): {"train": questions[6:], "validation": questions[:6]},
        **{(path, "default"): {"validation": texts} for path in UPSTREAM.values()},
    }
    rows = [_written(folder, hub_id, config, splits) for (hub_id, config), splits in datasets.items()]
    (folder / "MANIFEST.json").write_text(json.dumps({"datasets": rows, "aliases": {}}))
    return folder


def _written(folder: Path, hub_id: str, config: str, splits: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    facts = {}
    for split, rows in splits.items():
        file = folder / hub_id / config / f"{split}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), file)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        facts[split] = {"file": str(file.relative_to(folder)), "sha256": sha256, "rows": len(rows)}
    return {"hub_id": hub_id, "config": config, "splits": facts}
