"""Tiny random models of many architectures, with windows, sinks, caps and experts where they have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VOCABULARY = 408
POSITIONS = 128
WINDOW = 16
_COMMON = {
    "vocab_size": VOCABULARY,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_SIZE = {"hidden_size": 48, "intermediate_size": 112, "num_hidden_layers": 2, "num_attention_heads": 4}
_FULL = {**_COMMON, **_SIZE, "max_position_embeddings": POSITIONS}
_GROUPED = {**_FULL, "num_key_value_heads": 2}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_OLD = {
    "vocab_size": VOCABULARY,
    "n_embd": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": POSITIONS,
    "initializer_range": 0.2,
}
_FALCON = {**_COMMON, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "multi_query": True}
_YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}

SHARING: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _GROUPED),
    "qwen2": ("Qwen2", {**_GROUPED, "rope_parameters": _YARN}),
    "qwen3": ("Qwen3", {**_GROUPED, "head_dim": 12}),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": WINDOW}),
    "mixtral": ("Mixtral", {**_GROUPED, **_EXPERTS}),
    "gemma": ("Gemma", {**_GROUPED, "head_dim": 12}),
    "gemma2": (
        "Gemma2",
        {
            **_GROUPED,
            "head_dim": 12,
            "sliding_window": WINDOW,
            "final_logit_softcapping": 5.0,
            "attn_logit_softcapping": 10.0,
        },
    ),
    "phi": ("Phi", _GROUPED),
    "phi3": ("Phi3", {**_GROUPED, "sliding_window": WINDOW}),
    "gpt_neox": ("GPTNeoX", _FULL),
    "gpt2": ("GPT2", _OLD),
    "opt": (
        "OPT",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 48,
            "word_embed_proj_dim": 24,
            "ffn_dim": 112,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": POSITIONS,
            "init_std": 0.2,
        },
    ),
    "gpt_bigcode": ("GPTBigCode", _OLD),
    "starcoder2": ("Starcoder2", {**_GROUPED, "sliding_window": WINDOW}),
    "cohere": ("Cohere", _GROUPED),
    "granite": ("Granite", {**_GROUPED, "logits_scaling": 3.0, "attention_multiplier": 0.1}),
    "gpt_oss": ("GptOss", {**_GROUPED, **_EXPERTS, "head_dim": 12, "sliding_window": WINDOW}),
}
"""Prefixes are shared."""

MASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon": ("Falcon", _FALCON),
    "gptj": ("GPTJ", {**_OLD, "rotary_dim": 8}),
    "codegen": ("CodeGen", {**_OLD, "rotary_dim": 8}),
    "stablelm": ("StableLm", {**_GROUPED, "hidden_size": 64}),
    "falcon with alibi": ("Falcon", {**_FALCON, "alibi": True}),
    "bloom": (
        "Bloom",
        {"vocab_size": VOCABULARY, "hidden_size": 48, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    ),
    "mpt": (
        "Mpt",
        {
            "vocab_size": VOCABULARY,
            "d_model": 48,
            "n_layers": 2,
            "n_heads": 4,
            "max_seq_len": POSITIONS,
            "initializer_range": 0.2,
        },
    ),
}
"""They are, while the model's own attention stays in place."""

ALONE: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("Mamba", {"vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 2}),
    "dynamic rope": (
        "Llama",
        {**_GROUPED, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    ),
}
"""They are not."""


def make(name: str) -> Any:
    """A model with random weights."""
    import torch
    import transformers

    stem, options = {**SHARING, **MASKED, **ALONE}[name]
    old = {"GPT2": "LMHeadModel"}
    torch.manual_seed(sum(map(ord, name)))
    config: Callable[..., Any] = getattr(transformers, f"{stem}Config")
    model: Callable[..., Any] = getattr(transformers, stem + old.get(stem, "ForCausalLM"))
    return model(config(**options)).eval()
