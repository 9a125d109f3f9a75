"""Everything about a model that can change an answer, read from its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmrun.backends import fingerprint as files
from lmrun.backends.base import ModelIdentity
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.sources import Sources, read_adapter_config, read_config
from lmrun.backends.source import Source
from lmrun.backends.templates import delimiters, template_hash
from lmrun.errors import BackendError, did_you_mean

_LENGTHS = ("n_positions", "max_position_embeddings", "n_ctx")
_UNLIMITED = 10**9
"""Tokenizers without a limit say 1e30."""
DEFAULT_MAX_LENGTH = 2048
_PROMPT_LEARNING = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT")


def identify(sources: Sources, options: HfOptions) -> ModelIdentity:
    """Who the model made of ``sources`` is.

    The device is left out: it is no property of the model. Raises :class:`~lmrun.errors.BackendError`.
    """
    source, tokenizer = sources.model, sources.tokenizer
    # A GGUF file has its own configuration, and it counts with its content.
    config = {} if options.gguf_file else read_config(source)
    stated = None if options.gguf_file else stated_max_length(config, tokenizer.folder)
    facts: dict[str, Any] = {
        "backend": "hf",
        "weights": _gguf(source, options.gguf_file) if options.gguf_file else _weights(source),
        "config": files.hash_files(files.matching(source.folder, files.CONFIG_FILES)),
        "tokenizer": files.hash_files(files.matching(tokenizer.folder, files.TOKENIZER_FILES)),
        "chat_template": template_hash(tokenizer.folder, options.chat_template),
        "dtype": resolve_dtype(options.dtype, config),
        "max_length": options.max_length or stated,
        "add_bos_token": options.add_bos_token,
        "attn_implementation": options.attn_implementation,
    }
    if source.commit:
        facts |= {"model": source.name, "revision": source.commit}
    return files.identity(facts | _special(sources, options))


def _special(sources: Sources, options: HfOptions) -> dict[str, Any]:
    """What is named only where it differs from what holds for every model."""
    facts: dict[str, Any] = {}
    if found := delimiters(sources.tokenizer.folder, options.reasoning, options.chat_template):
        facts["reasoning"] = list(found)
    if options.too_long != "left":
        facts["too_long"] = options.too_long
    if options.trust_remote_code:
        facts["code"] = files.hash_files(files.matching(sources.model.folder, files.CODE_FILES)) or "remote"
    if sources.adapter:
        facts["adapter"] = _adapter(sources.adapter)
    if sources.delta:
        facts["delta"] = _weights(sources.delta)
    if options.exact:
        facts["exact"] = True
    if options.quantization:
        facts["quantization"] = options.quantization
    if options.compile:
        facts["compile"] = True
    return facts


def _adapter(source: Source) -> str:
    if read_adapter_config(source).get("peft_type", "").endswith(_PROMPT_LEARNING):
        raise BackendError(
            f"{source.name} learns tokens that stand before the prompt, and only adapters of weights can be put on",
            hint="LoRA and its relatives",
        )
    if source.commit:
        return f"hub:{source.commit}"
    found = files.matching(source.folder, ("adapter_model.safetensors", "adapter_model.bin"))
    if not found:
        raise BackendError(f"there are no adapter weights in {source.folder}", hint="adapter_model.safetensors")
    return str(files.hash_files([source.folder / files.ADAPTER_CONFIG, *found], files.HashCache()))


def _gguf(source: Source, name: str) -> str:
    if source.commit:
        return f"hub:{source.commit}:{name}"
    path = source.folder / name
    if not path.is_file():
        there = [each.name for each in files.matching(source.folder, ("*.gguf",))]
        hint = did_you_mean(name, there) or f"GGUF files there: {', '.join(there) or 'none'}"
        raise BackendError(f"there is no {name} in {source.folder}", hint=hint)
    return str(files.hash_files([path], files.HashCache()))


def _weights(source: Source) -> str:
    if source.commit:
        # A commit names the content of every file in it.
        return f"hub:{source.commit}"
    try:
        found = files.hash_files(files.weight_files(source.folder), files.HashCache())
    except (OSError, KeyError, ValueError) as error:
        raise BackendError(
            f"the weights of {source.name} cannot be read: {error}", hint="is the copy complete? compare with the index"
        ) from error
    if found is None:
        raise BackendError(
            f"there are no weights in {source.folder}",
            hint="model.safetensors or pytorch_model.bin, or shards of them with their index",
        )
    return found


def resolve_dtype(dtype: str, config: Mapping[str, Any]) -> str:
    """The precision of the weights: as asked for, or else as saved."""
    if dtype != "auto":
        return dtype
    text = config.get("text_config") or {}
    stated = (config.get(key) or text.get(key) for key in ("dtype", "torch_dtype"))
    return next((str(value).removeprefix("torch.") for value in stated if value), "float32")


def stated_max_length(config: Mapping[str, Any], tokenizer: Path) -> int:
    """Longest input in tokens, as the model's files state it."""
    for part in (config.get("text_config") or {}, config):
        for name in _LENGTHS:
            if isinstance(part.get(name), int):
                return int(part[name])
    limit = files.read_json(tokenizer / "tokenizer_config.json").get("model_max_length")
    return int(limit) if limit and limit < _UNLIMITED else DEFAULT_MAX_LENGTH
