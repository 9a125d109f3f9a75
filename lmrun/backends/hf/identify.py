"""Everything about a model that can change an answer, read from its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmrun.backends import fingerprint as files
from lmrun.backends.base import ModelIdentity
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.source import Source
from lmrun.backends.templates import delimiters, template_hash
from lmrun.errors import BackendError

_LENGTHS = ("n_positions", "max_position_embeddings", "n_ctx")
_UNLIMITED = 10**9
"""Tokenizers without a limit say 1e30."""
DEFAULT_MAX_LENGTH = 2048


def identify(source: Source, tokenizer: Source, options: HfOptions) -> ModelIdentity:
    """Who the model at ``source`` is, with the tokenizer at ``tokenizer``.

    The device is left out: it is no property of the model. Raises :class:`~lmrun.errors.BackendError`.
    """
    config = read_config(source)
    facts: dict[str, Any] = {
        "backend": "hf",
        "weights": _weights(source),
        "config": files.hash_files(files.matching(source.folder, files.CONFIG_FILES)),
        "tokenizer": files.hash_files(files.matching(tokenizer.folder, files.TOKENIZER_FILES)),
        "chat_template": template_hash(tokenizer.folder, options.chat_template),
        "dtype": resolve_dtype(options.dtype, config),
        "max_length": options.max_length or stated_max_length(config, tokenizer.folder),
        "add_bos_token": options.add_bos_token,
        "attn_implementation": options.attn_implementation,
    }
    if source.commit:
        facts |= {"model": source.name, "revision": source.commit}
    # Named only where they differ from what holds for every model.
    if found := delimiters(tokenizer.folder, options.reasoning, options.chat_template):
        facts["reasoning"] = list(found)
    if options.too_long != "left":
        facts["too_long"] = options.too_long
    if options.exact:
        facts["exact"] = True
    if options.trust_remote_code:
        facts["code"] = files.hash_files(files.matching(source.folder, files.CODE_FILES)) or "remote"
    return files.identity(facts)


def read_config(source: Source) -> dict[str, Any]:
    """``config.json``, checked to be of a model that can be run. Raises :class:`~lmrun.errors.BackendError`."""
    path = source.folder / "config.json"
    if not path.is_file():
        if (source.folder / "adapter_config.json").is_file():
            raise BackendError(
                f"{source.name} holds an adapter, not a model", hint="merge it into its base model and save that"
            )
        raise BackendError(f"there is no config.json in {source.name}", hint=f"looked in {source.folder}")
    try:
        config = files.read_json(path)
    except ValueError as error:
        raise BackendError(f"{path} is not JSON: {error}", hint="save the model again") from error
    if config.get("is_encoder_decoder"):
        raise BackendError(
            f"{source.name} is an encoder-decoder model, and this version runs decoder-only models",
            hint="a decoder-only (causal) model",
        )
    return config


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
