"""Tokenizer and model into memory, quietly, and every way in which that fails as a :class:`BackendError`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from lmrun.backends.hf.options import HfOptions
from lmrun.backends.registry import missing_packages
from lmrun.backends.source import Source
from lmrun.errors import BackendError


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and progress bars of torch and transformers off the terminal, which belongs to the display."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_tokenizer(source: Source, options: HfOptions) -> Any:
    """The tokenizer at ``source``. Raises :class:`~lmrun.errors.BackendError`."""
    from transformers import AutoTokenizer

    # Tokenizers of the Llama family take this and change their own rule.
    bos = {} if options.add_bos_token is None else {"add_bos_token": options.add_bos_token}
    try:
        return AutoTokenizer.from_pretrained(
            source.name, trust_remote_code=options.trust_remote_code, **source.load_options, **bos
        )
    except Exception as error:  # boundary: loaders raise anything
        raise _failed("tokenizer", source, error) from error


def load_model(source: Source, options: HfOptions, dtype: str) -> Any:
    """The model at ``source``, on its device, ready for inference. Raises :class:`~lmrun.errors.BackendError`."""
    import torch
    from transformers import AutoModelForCausalLM

    if options.device_map is not None and find_spec("accelerate") is None:
        raise missing_packages("hf", ["accelerate"])
    device = None if options.device_map is not None else resolve_device(options.device)
    placed = {"device_map": options.device_map} if device is None else {}
    attention = {"attn_implementation": options.attn_implementation} if options.attn_implementation else {}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.name,
            torch_dtype=getattr(torch, dtype),
            trust_remote_code=options.trust_remote_code,
            **source.load_options,
            **placed,
            **attention,
        )
        if device is not None:
            model = model.to(device)
    except Exception as error:  # boundary: loaders raise anything
        raise _failed("model", source, error) from error
    if model.config.is_encoder_decoder:
        raise BackendError(
            f"{source.name} is an encoder-decoder model, and this version runs decoder-only models",
            hint="a decoder-only (causal) model",
        )
    return model.eval()


def resolve_device(name: str) -> str:
    """The device to use: as asked for, or else the best there is.

    Raises:
        BackendError: a device was asked for that is not here. Nothing ever runs on the CPU instead, unnoticed.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if gpus else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise BackendError("device mps was asked for, and there is none here", hint='device = "cpu" or "auto"')
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= gpus:
            built = torch.version.cuda is not None
            found = f"{gpus} CUDA device(s) found" if built else "this torch is built without CUDA"
            raise BackendError(
                f"device {name} was asked for, and it is not here: {found}",
                hint='`lmrun doctor` shows what is there; device = "cpu" or "auto" runs without it',
            )
    return name


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or in the machine."""
    import torch

    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def release_memory() -> None:
    """Give memory that is no longer used back to the device."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failed(what: str, source: Source, error: Exception) -> BackendError:
    if isinstance(error, BackendError):
        return error
    text = " ".join(str(error).split())
    return BackendError(
        f"the {what} of {source.name} could not be loaded: {type(error).__name__}: {text[:400]}",
        hint=_hint(error, text),
    )


def _hint(error: Exception, text: str) -> str:
    low = text.lower()
    if is_out_of_memory(error):
        return 'a smaller dtype (dtype = "bfloat16"), device_map = "auto" over more devices, or a smaller model'
    if "trust_remote_code" in low:
        return "the model brings its own Python code: read it, then set trust_remote_code = true"
    if "unrecognized model" in low or "does not recognize this architecture" in low or "model type" in low:
        return "is `model_type` in config.json right? a newer transformers may know this architecture"
    if "unrecognized configuration class" in low:
        return "this is no causal language model that transformers knows"
    if isinstance(error, ImportError):
        return "install the package that is named, or choose another attn_implementation or dtype"
    if isinstance(error, OSError):
        return f"are all files there and readable? {', '.join(_EXPECTED)}"
    return "does it load with AutoModelForCausalLM.from_pretrained in a Python shell?"


_EXPECTED = ("config.json", "model.safetensors (or shards)", "tokenizer.json", "tokenizer_config.json")
