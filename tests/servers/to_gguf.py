"""The small model as a GGUF file; run by a Python that has the package ``gguf``, on weights saved by numpy.

::

    python to_gguf.py FOLDER OUT     # FOLDER: weights.npz, config.json, tokenizer.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def main(folder: Path, out: Path) -> None:
    """Write the file."""
    import gguf
    import numpy as np

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(str(out), "llama")
    heads, groups, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, gguf, json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")), config)
    for name, weight in np.load(folder / "weights.npz").items():
        rows = {"q_proj": heads, "k_proj": groups}.get(name.split(".")[-2])
        writer.add_tensor(_renamed(name), _turned(weight, rows) if rows else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _renamed(name: str) -> str:
    base = name.removesuffix(".weight")
    if base.startswith("model.layers."):
        number, inner = base.removeprefix("model.layers.").split(".", 1)
        return f"blk.{number}.{NAMES[inner]}.weight"
    return f"{NAMES[base]}.weight"


def _turned(weight: Any, heads: int) -> Any:
    """Rotary halves next to each other become pairs."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _add_tokenizer(writer: Any, gguf: Any, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    names = {i: name for name, i in tokenizer["model"]["vocab"].items()}
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    names.update({i: token["content"] for i, token in added.items()})
    tokens, kinds = [], []
    for i in range(config["vocab_size"]):
        special = added.get(i, {}).get("special")
        kinds.append(gguf.TokenType.CONTROL if special else gguf.TokenType.NORMAL)
        tokens.append(names.get(i, f"[unused{i}]"))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
