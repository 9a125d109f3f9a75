"""Small models of kinds other than the plain decoder, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _t5(common: Mapping[str, Any], positions: int) -> Any:
    import transformers as tr

    config = tr.T5Config(
        vocab_size=common["vocab_size"],
        d_model=48,
        d_kv=12,
        d_ff=112,
        num_layers=2,
        num_heads=4,
        n_positions=positions,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=1,
        pad_token_id=1,
        eos_token_id=0,
    )
    return tr.T5ForConditionalGeneration(config)


def _bart(common: Mapping[str, Any], positions: int) -> Any:
    import transformers as tr

    config = tr.BartConfig(
        vocab_size=common["vocab_size"],
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=112,
        decoder_ffn_dim=112,
        max_position_embeddings=positions,
        init_std=0.2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
    )
    return tr.BartForConditionalGeneration(config)


def _mamba(common: Mapping[str, Any], positions: int) -> Any:
    import transformers as tr

    config = tr.MambaConfig(**common, hidden_size=32, state_size=4, num_hidden_layers=2)
    return tr.MambaForCausalLM(config)


def _rwkv(common: Mapping[str, Any], positions: int) -> Any:
    import transformers as tr

    config = tr.RwkvConfig(**common, hidden_size=32, num_hidden_layers=2, context_length=positions)
    return tr.RwkvForCausalLM(config)


def _qwen2(common: Mapping[str, Any], positions: int) -> Any:
    import transformers as tr

    config = tr.Qwen2Config(
        **common,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
    )
    return tr.Qwen2ForCausalLM(config)


MAKERS: Mapping[str, Callable[[Mapping[str, Any], int], Any]] = {
    "t5": _t5,
    "bart": _bart,
    "mamba": _mamba,
    "rwkv": _rwkv,
    "qwen2": _qwen2,
}
