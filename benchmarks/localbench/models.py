"""Llamas with random weights, and a tokenizer that has learnt from docstrings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmrun.backends.hf.loading import quiet
from localbench.corpus import docstrings

VOCABULARY = 4096
POSITIONS = 4096
_SPREAD = 1.6
"""Of the weights, times the root of the width: with the usual 0.02 greedy texts soon repeat one token."""


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    dtype: str = "float32"


SIZES = {
    "tiny": Size(256, 4, 4, 688),
    "small": Size(640, 11, 10, 1728),
    "large": Size(2048, 22, 32, 5632, "bfloat16"),
}
"""5 M, 60 M and 1.1 B parameters; the last one for a GPU."""


def save_model(folder: Path, size: Size) -> Path:
    """Write model and tokenizer, once."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.intermediate,
        max_position_embeddings=POSITIONS,
        initializer_range=_SPREAD / size.hidden**0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    with quiet():
        LlamaForCausalLM(config).to(getattr(torch, size.dtype)).save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|pad|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(docstrings(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token="<|end|>", pad_token="<|pad|>", model_max_length=POSITIONS
    )
