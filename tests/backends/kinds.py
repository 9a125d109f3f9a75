"""Small models of kinds other than the plain decoder, with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
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


def save_adapter(base: Path, folder: Path) -> Path:
    """A LoRA adapter for a Llama, with random weights that change what the model says."""
    import peft
    import torch
    import transformers as tr

    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False
    )
    torch.manual_seed(3)
    with warnings.catch_warnings():
        # PEFT may ask transformers for what it calls otherwise by now.
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(tr.AutoModelForCausalLM.from_pretrained(base), config)
        adapted.save_pretrained(folder)
    return folder


_SHAPES = {
    "wide": {"hidden_size": 64, "num_hidden_layers": 2},
    "deep": {"hidden_size": 48, "num_hidden_layers": 3},
    "shallow": {"hidden_size": 48, "num_hidden_layers": 1},
}


def save_llama(folder: Path, shape: str) -> Path:
    """A Llama of another shape than that of the other tests, with a tokenizer."""
    import transformers as tr

    from tests.backends import make

    config = tr.LlamaConfig(
        vocab_size=make.VOCABULARY + 8,
        intermediate_size=112,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        max_position_embeddings=128,
        **_SHAPES[shape],
    )
    tr.LlamaForCausalLM(config).save_pretrained(folder)
    make.tokenizer("bytes-bos").save_pretrained(folder)
    return folder


def save_delta(base: Path, folder: Path) -> tuple[Path, Path]:
    """Weights to be added to those of a model, and the model that this gives."""
    import shutil

    import torch
    import transformers as tr

    delta, total = folder / "delta", folder / "total"
    shutil.copytree(base, delta)
    shutil.copytree(base, total)
    added, summed = (tr.AutoModelForCausalLM.from_pretrained(base) for _ in range(2))
    torch.manual_seed(5)
    with torch.no_grad():
        for part, weight in zip(added.parameters(), summed.parameters(), strict=True):
            part.copy_(torch.randn_like(part) * 0.1)
            weight.add_(part)
    added.save_pretrained(delta)
    summed.save_pretrained(total)
    return delta, total


def save_gguf(base: Path, file: Path, *, quantised: bool = False) -> None:
    """A Qwen2 with its tokenizer as one GGUF file; ``quantised``: its matrices in blocks of 8 bit numbers."""
    import gguf
    import transformers as tr

    model, tokenizer = tr.AutoModelForCausalLM.from_pretrained(base), tr.AutoTokenizer.from_pretrained(base)
    writer = gguf.GGUFWriter(file, "qwen2")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _write_tokenizer(writer, tokenizer, config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    block = gguf.GGMLQuantizationType.Q8_0
    for name, weight in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        data = weight.float().numpy()
        target = f"{names.get_name(stem)}.{kind}"
        if quantised and data.ndim == 2:
            writer.add_tensor(target, gguf.quants.quantize(data, block), raw_dtype=block)
        else:
            writer.add_tensor(target, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(writer: Any, tokenizer: Any, size: int) -> None:
    import json

    import gguf

    special = set(tokenizer.all_special_ids)
    names = [tokenizer.convert_ids_to_tokens(i) or f"<unused{i}>" for i in range(size)]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types([control if i in special else normal for i in range(size)])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
