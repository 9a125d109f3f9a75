"""Train the demo model: ``python -m lmrun.demo.train --out lmrun/demo/model``.

Makes a byte-level BPE tokenizer and a Llama of just under a million parameters from :mod:`lmrun.demo.corpus`,
on the CPU, in minutes. Seeds are fixed. The text is the same everywhere; the weights are the same for the same torch
build, processor family and number of threads, because floating-point sums depend on these.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lmrun.demo.corpus import TRAINING_DOCUMENTS, TRAINING_SEED, Document, TrainingStream
from lmrun.requests import context_as_json

if TYPE_CHECKING:
    import torch

log = logging.getLogger("lmrun.demo.train")

BOS: Final = "<|bos|>"
EOS: Final = "<|eos|>"
PAD: Final = "<|pad|>"
ROLES: Final = ("<|system|>", "<|user|>", "<|assistant|>")
CONTEXT: Final = 1024
"""``max_position_embeddings``. Training rows are shorter: the demo tasks need no more, and short rows train faster."""
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_WORD = r" ?\p{L}+| ?[^\s\p{L}\p{N}]+|\p{N}|\s+(?!\S)|\s+"
"""Words, runs of signs, single digits, white space. Digits stay single, so that sums can be learnt digit by digit."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what comes out."""

    documents: int = TRAINING_DOCUMENTS
    seed: int = TRAINING_SEED
    vocabulary: int = 1536
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 344
    row: int = 256
    """Tokens per training row."""
    batch: int = 16
    """Rows per step."""
    steps: int = 1000
    warmup: int = 50
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    threads: int = 1


def make_tokenizer(texts: Iterator[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer that gives back every text unchanged, with a chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_WORD), behavior="isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        # Llama takes no others, and transformers 4 would give it token_type_ids.
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def as_text(document: Document) -> str:
    """The plain words of a document, for the tokenizer's training."""
    return document if isinstance(document, str) else "\n".join(message.content for message in document)


def make_rows(documents: Sequence[Document], tokenizer: Any, row: int) -> torch.Tensor:
    """All documents, each between BOS and EOS, as one stream cut into rows of ``row + 1`` tokens."""
    import torch

    texts = [
        f"{BOS}{d}{EOS}" if isinstance(d, str) else tokenizer.apply_chat_template(context_as_json(d), tokenize=False)
        for d in documents
    ]
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    stream = torch.tensor([token for ids in encoded for token in ids], dtype=torch.long)
    count = len(stream) // (row + 1)
    return stream[: count * (row + 1)].view(count, row + 1)


def make_model(recipe: Recipe, tokenizer: Any) -> Any:
    """The untrained model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).to(torch.float32)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, a long plateau, and a linear way down over the last 40 %."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    left = (recipe.steps - step) / (0.4 * recipe.steps)
    return recipe.learning_rate * min(1.0, left)


def row_order(count: int, needed: int, seed: int) -> list[int]:
    """Positions of ``needed`` rows: whole shuffled passes over ``count`` rows, one after another."""
    rng = random.Random(seed)
    order: list[int] = []
    for _ in range(math.ceil(needed / count)):
        order += rng.sample(range(count), count)
    return order[:needed]


def fit(model: Any, rows: torch.Tensor, recipe: Recipe) -> None:
    """Train ``model`` in place, with next-token cross-entropy on every position."""
    import torch

    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    order = row_order(len(rows), recipe.steps * recipe.batch, recipe.seed)
    model.train()
    started, recent = time.monotonic(), 0.0
    for step in range(recipe.steps):
        batch = rows[order[step * recipe.batch : (step + 1) * recipe.batch]]
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent = loss.item() if step == 0 else 0.98 * recent + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            log.info("step %d of %d: loss %.3f, %.0f s", step + 1, recipe.steps, recent, time.monotonic() - started)
    model.eval()


def train(out: Path, recipe: Recipe) -> None:
    """Make the model and write it to ``out`` in the layout of ``save_pretrained``."""
    import torch

    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True)
    documents = list(TrainingStream(recipe.seed).documents(recipe.documents))
    tokenizer = make_tokenizer((as_text(d) for d in documents[:20_000]), recipe.vocabulary)
    rows = make_rows(documents, tokenizer, recipe.row)
    model = make_model(recipe, tokenizer)
    size = sum(p.numel() for p in model.parameters())
    log.info("%d documents, %d tokens; %d parameters", len(documents), rows.numel(), size)
    fit(model, rows, recipe)
    save(model, tokenizer, out)


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write model and tokenizer to ``out``, readable by every supported transformers (4.53 and later)."""
    model.generation_config.do_sample = False
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    settings = out / "tokenizer_config.json"
    # transformers 5 writes a class name that transformers 4 does not know; both know this one.
    values = json.loads(settings.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8", newline="\n")
    (out / "model.safetensors").chmod(0o644)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m lmrun.demo.train", description="Train the demo model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="training steps; fewer for a try")
    parser.add_argument("--threads", type=int, default=Recipe().threads, help="CPU threads")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(args.out, Recipe(steps=args.steps, threads=args.threads))


if __name__ == "__main__":
    main()
