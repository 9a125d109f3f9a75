"""Make small, reproducible Llama models for comparisons: own BPE, seeded weights, optionally a short training.

::

    python -m tests.parity.make_model FOLDER --mirror MIRROR [--size small] [--steps 600] [--bos]

The same arguments give the same files on the same machine. Weights of an untrained model are spread wider than usual,
so that log-probabilities differ clearly between tokens and a mistake of one position shows.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY = 4096
MAX_LENGTH = 2048
SPECIAL = ("<|pad|>", "<|begin|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] }}"
    "{% if not (loop.last and m['role'] == 'assistant') %}{{ '<|end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
# Splits whose text is read, a few thousand rows of each: enough to give every task's vocabulary whole-word tokens.
CORPUS = (
    "openai/gsm8k/main/train.parquet",
    "EleutherAI/wikitext_document_level/wikitext-2-raw-v1/test.parquet",
    "allenai/sciq/default/train.parquet",
    "allenai/ai2_arc/ARC-Easy/train.parquet",
    "cais/mmlu/all/validation.parquet",
    "baber/piqa/default/train.parquet",
)
ROWS_PER_FILE = 4000


@dataclass(frozen=True)
class Size:
    hidden: int
    layers: int
    heads: int
    intermediate: int


SIZES = {"nano": Size(64, 2, 4, 160), "small": Size(320, 7, 5, 864)}


def mirror_texts(mirror: Path) -> list[str]:
    """Rows of :data:`CORPUS` as plain text, in a fixed order."""
    import pyarrow.parquet as pq

    texts: list[str] = []
    for name in CORPUS:
        if not (mirror / name).is_file():
            continue
        rows = pq.read_table(mirror / name).slice(0, ROWS_PER_FILE).to_pylist()
        texts += ["\n".join(_strings(row)) for row in rows]
    if not texts:
        raise FileNotFoundError(f"none of the corpus files is in {mirror}")
    return texts


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(_strings(v) for v in value.values())
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(_strings(v) for v in value)


def make_tokenizer(texts: list[str], bos: bool) -> Any:
    """A byte-level BPE tokenizer; with ``bos`` it puts its BOS in front of every text, as Llama's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", raw.token_to_id("<|begin|>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|begin|>" if bos else None,
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        model_max_length=MAX_LENGTH,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(
    folder: Path, mirror: Path, size: str = "nano", seed: int = 0, bos: bool = False, steps: int = 0
) -> Path:
    """Write a model and its tokenizer to ``folder`` (left alone where they already are) and return ``folder``."""
    settings = {"size": size, "seed": seed, "bos": bos, "steps": steps, "format": 2}
    stamp = folder / "made.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == settings:
        return folder
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    texts = mirror_texts(mirror)
    tokenizer = make_tokenizer(texts, bos)
    torch.manual_seed(seed)
    shape = SIZES[size]
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.02 if steps else 0.2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).float()
    if steps:
        _train(model, tokenizer, texts, steps, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _for_every_transformers(folder / "tokenizer_config.json")
    stamp.write_text(json.dumps(settings))
    return folder


def make_encoder_decoder(folder: Path, mirror: Path) -> Path:
    """Write a random T5, whose tokenizer marks the end of every text, and return ``folder``."""
    if (folder / "made.json").is_file():
        return folder
    import torch
    from tokenizers import processors
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = make_tokenizer(mirror_texts(mirror), bos=False)
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=64,
        d_kv=16,
        d_ff=160,
        num_layers=2,
        num_heads=4,
        n_positions=MAX_LENGTH,
        initializer_factor=0.2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    T5ForConditionalGeneration(config).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _for_every_transformers(folder / "tokenizer_config.json")
    (folder / "made.json").write_text(json.dumps({"format": 1}))
    return folder


def _for_every_transformers(config: Path) -> None:
    """transformers 5 names a class that 4 has not got; both know this one."""
    values = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**values, "tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")


def _train(model: Any, tokenizer: Any, texts: list[str], steps: int, seed: int) -> None:
    block, batch = 256, 4
    import logging
    import random

    import torch

    order = list(texts)
    random.Random(seed).shuffle(order)
    ids = [t for row in tokenizer(order)["input_ids"] for t in (*row, tokenizer.eos_token_id)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
    for step in range(steps):
        at = step * block * batch % (len(ids) - block * batch)
        inputs = torch.tensor(ids[at : at + block * batch]).view(batch, block)
        loss = model(input_ids=inputs, labels=inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step % 50 == 0:
            logging.info("step %d loss %.3f", step, loss.item())


def main() -> None:
    import logging

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--size", choices=sorted(SIZES), default="nano")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--bos", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    make_model(args.folder, args.mirror, args.size, args.seed, args.bos, args.steps)


if __name__ == "__main__":
    main()
