"""Tasks that both programs read, with data of the shapes of HellaSwag, MMLU, GSM8K and WikiText. Labels are drawn."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localbench.corpus import passage

MAX_NEW_TOKENS = 256
SHOTS = 5
_EXAMPLES = 200

Doc = Mapping[str, Any]


def hellaswag(draw: random.Random) -> Doc:
    """Some 100 tokens of context, and four endings of 35."""
    endings = [passage(draw, 12, 22) for _ in range(4)]
    return {
        "text": f"{passage(draw, 2, 3).title()}: {passage(draw, 38, 52)}",
        "choices": endings,
        "label": _label(draw),
    }


def mmlu(draw: random.Random) -> Doc:
    """A question with four answers, known by their letters."""
    answers = "\n".join(f"{letter}. {passage(draw, 4, 9)}" for letter in "ABCD")
    text = f"{passage(draw, 24, 40)}?\n{answers}\nAnswer:"
    return {"text": text, "choices": list("ABCD"), "label": _label(draw)}


def gsm8k(draw: random.Random) -> Doc:
    """A question with numbers, and a worked answer."""
    a, b = draw.randint(2, 90), draw.randint(2, 90)
    question = f"{passage(draw, 14, 22)} {a} {passage(draw, 8, 14)} {b} {passage(draw, 6, 12)}?"
    answer = f"{passage(draw, 18, 30)} {a}+{b}={a + b}.\n#### {a + b}"
    return {"text": f"Question: {question}\nAnswer:", "target": answer}


def pages(draw: random.Random) -> Doc:
    """Some 1,500 tokens."""
    return {"text": "", "target": "\n".join(passage(draw, 60, 120) for _ in range(10))}


def _label(draw: random.Random) -> int:
    return draw.randrange(4)


_CHOICE = """output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_target: label
doc_to_choice: choices
metric_list: [{metric: acc}]
"""
_PAGES = """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{target}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}]
"""
_ANSWER = """output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{target}}"
generation_kwargs: {until: %s, do_sample: false, max_gen_toks: %d}
metric_list: [{metric: exact_match}]
"""
FIXED = "fewshot_config: {sampler: first_n}\n"


@dataclass(frozen=True)
class Work:
    """One line of the table."""

    name: str
    what: str
    doc: Callable[[random.Random], Doc]
    docs: int
    """Unless a limit says otherwise."""
    yaml: str
    shots: int = 0
    generates: bool = False
    goals: tuple[float | None, float] = (None, 1.0)
    """Forwarded tokens per distinct one at most; times as fast as lm-eval at least."""

    @property
    def task(self) -> str:
        """Its name in both programs."""
        return "bench_" + self.name.replace("-", "_")


WORKS = {
    work.name: work
    for work in (
        Work("hs-0", "hellaswag-like, 0-shot", hellaswag, 200, _CHOICE, goals=(1.05, 2)),
        Work("hs-10", "hellaswag-like, 10-shot, random", hellaswag, 40, _CHOICE, 10, goals=(1.05, 3.5)),
        Work("hs-10-fixed", "hellaswag-like, 10-shot, fixed", hellaswag, 100, _CHOICE + FIXED, 10, goals=(1.05, 15)),
        Work("mmlu", "MMLU-like, 5-shot", mmlu, 300, _CHOICE + FIXED, 5, goals=(1.05, 5)),
        Work("gsm8k", "gsm8k-like, 5-shot, fixed", gsm8k, 60, _ANSWER + FIXED, SHOTS, True, goals=(1.05, 2)),
        Work("rolling", "rolling, 1,500-token docs", pages, 20, _PAGES, goals=(1.01, 1.2)),
        Work("start", "start to results, 1 doc", mmlu, 1, _CHOICE + FIXED, 5, goals=(None, 3)),
    )
}


@dataclass(frozen=True)
class Data:
    """The docs of a work."""

    examples: Sequence[Doc]
    docs: Sequence[Doc]
    stops: Sequence[str] = field(default=("\n\n",))
    """Of a generation."""


def made(work: Work, docs: int) -> Data:
    """Docs of a work, and those from which its examples are taken; the same ones every time."""
    draw = random.Random(work.doc.__name__)
    examples = [work.doc(draw) for _ in range(_EXAMPLES)]
    return Data(examples, [work.doc(draw) for _ in range(docs)])


def save_task(folder: Path, work: Work, data: Data) -> Path:
    """Write data and YAML; returns the folder of the YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, docs in {"train": data.examples, "test": data.docs}.items():
        files[split] = folder / f"{work.task}-{split}.jsonl"
        files[split].write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
    named = json.dumps({split: str(path) for split, path in files.items()})
    text = f"task: {work.task}\ndataset_path: json\ndataset_kwargs: {{data_files: {named}}}\n"
    text += f"training_split: train\nfewshot_split: train\ntest_split: test\nnum_fewshot: {work.shots}\n"
    own = work.yaml % (json.dumps(list(data.stops)), MAX_NEW_TOKENS) if work.generates else work.yaml
    (folder / f"{work.task}.yaml").write_text(f"{text}{own}metadata: {{version: 1.0}}\n", encoding="utf-8")
    return folder
