"""Packages that some kinds of models need beside torch and transformers; looked for before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from lmrun.backends.hf.options import HfOptions
from lmrun.errors import BackendError

_OF_CHECKPOINTS: Mapping[str, tuple[str, ...]] = {
    "aqlm": ("aqlm",),
    "auto-round": ("auto_round",),
    "awq": ("gptqmodel",),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed_tensors",),
    "eetq": ("eetq",),
    "gptq": ("gptqmodel", "optimum"),
    "hqq": ("hqq",),
    "quanto": ("optimum.quanto",),
    "torchao": ("torchao",),
}
"""By ``quant_method`` of a checkpoint; transformers itself names what the others need."""
_EXTRAS = ("accelerate", "bitsandbytes", "gguf", "peft")
_EXTRA_OF = {"accelerate": "hf"}


def check_packages(options: HfOptions, config: Mapping[str, Any]) -> None:
    """Look for everything that a model with this ``config.json`` and these options needs.

    Raises:
        BackendError: a package is not installed.
    """
    for what, module in _needed(options, config):
        if not _is_installed(module):
            package = module.replace("_", "-").replace(".", "-")
            install = f'"lmrun[{_EXTRA_OF.get(package, package)}]"' if package in _EXTRAS else package
            raise BackendError(f"{what} needs {package}, not installed here", hint=f"pip install {install}")


def _needed(options: HfOptions, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if options.adapter:
        yield "an adapter", "peft"
    if options.gguf_file:
        yield "a GGUF file", "gguf"
    if options.device_map is not None:
        yield "device_map", "accelerate"
    if options.quantization:
        yield f'quantization = "{options.quantization}"', "bitsandbytes"
    method = quantized_by(config)
    for module in _OF_CHECKPOINTS.get(method or "", ()):
        yield f"a checkpoint quantised with {method}", module
    if options.quantization or method:
        yield "a quantised model", "accelerate"


def quantized_by(config: Mapping[str, Any]) -> str | None:
    """How the weights of a checkpoint are quantised, by its ``config.json``; None where they are not."""
    stated = config.get("quantization_config") or {}
    method = stated.get("quant_method") or ("bitsandbytes" if _is_old_bitsandbytes(stated) else None)
    return str(method) if method else None


def _is_old_bitsandbytes(stated: Mapping[str, Any]) -> bool:
    return bool(stated.get("load_in_8bit") or stated.get("load_in_4bit"))


def _is_installed(module: str) -> bool:
    parent = module.partition(".")[0]
    return find_spec(parent) is not None and (parent == module or find_spec(module) is not None)
