"""Tokenizer and model into memory, quietly, and every way in which that fails as a :class:`BackendError`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lmrun.backends import light_tokenizer
from lmrun.backends.hf.changes import add_delta, put_on
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.sources import Sources
from lmrun.backends.source import Source
from lmrun.backends.tokenize import Encoder
from lmrun.errors import BackendError
from lmrun.requests import Request


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and progress bars of torch and transformers off the terminal, which belongs to the display."""
    from transformers.utils import logging as messages

    messages.set_verbosity_error()
    messages.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_tokenizer(source: Source, options: HfOptions) -> Any:
    """The tokenizer at ``source``. Raises :class:`~lmrun.errors.BackendError`."""
    from transformers import AutoTokenizer

    # Tokenizers of the Llama family take this and change their own rule.
    bos = {} if options.add_bos_token is None else {"add_bos_token": options.add_bos_token}
    gguf = {"gguf_file": options.gguf_file} if options.gguf_file and not options.tokenizer else {}
    try:
        return AutoTokenizer.from_pretrained(
            source.name, trust_remote_code=options.trust_remote_code, **source.load_options, **bos, **gguf
        )
    except Exception as error:  # boundary: loaders raise anything
        raise _failed("tokenizer", source, error) from error


def load_encoder(source: Source, options: HfOptions) -> Encoder:
    """What turns requests into tokens as the model at ``source`` wants them.

    Raises:
        BackendError: there is no such tokenizer, or no such template.
    """
    with quiet():
        tokenizer = load_tokenizer(source, options)
    return light_tokenizer.encoder_of(tokenizer, options.add_bos_token, options.chat_template)


def load_counter(source: Source, options: HfOptions) -> Callable[[Request], int]:
    """What counts prompt tokens as the encoder would, without the seconds that transformers takes where it can.

    Raises:
        BackendError: see :func:`load_encoder`.
    """
    if options.gguf_file or options.trust_remote_code:
        return load_encoder(source, options).count  # only transformers makes such tokenizers
    bos, template = options.add_bos_token, options.chat_template
    return light_tokenizer.load_encoder(source, add_bos_token=bos, chat_template=template).count


def load_model(sources: Sources, options: HfOptions, dtype: str) -> Any:
    """The model made of ``sources``, on its device, ready for inference. Raises :class:`~lmrun.errors.BackendError`."""
    device = None if options.device_map is not None else resolve_device(options.device)
    for name in _named_gpus(options):
        resolve_device(name)
    model = _load(sources.model, options, dtype, device)
    if sources.delta:
        add_delta(model, _load(sources.delta, options, dtype, device), sources.delta.name)
    if sources.adapter:
        model = put_on(model, sources.adapter)
    return model.eval()


def _load(source: Source, options: HfOptions, dtype: str, device: str | None) -> Any:
    """The whole model at ``source``: on ``device``, or as ``device_map`` says."""
    import torch
    import transformers

    code = {"trust_remote_code": options.trust_remote_code, **source.load_options}
    if options.gguf_file:
        code["gguf_file"] = options.gguf_file
    attention = {"attn_implementation": options.attn_implementation} if options.attn_implementation else {}
    try:
        config = transformers.AutoConfig.from_pretrained(source.name, **code)
        quantised = options.quantization or getattr(config, "quantization_config", None)
        # Quantised weights cannot be moved afterwards.
        placed = _placement(options) if device is None else {"device_map": {"": device}} if quantised else {}
        sequences = (
            transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
        )
        model = sequences.from_pretrained(
            source.name,
            torch_dtype=getattr(torch, dtype),
            **code,
            **placed,
            **attention,
            **_quantization(options, dtype),
        )
        return model if device is None or quantised else model.to(device)
    except Exception as error:  # boundary: loaders raise anything
        raise _failed("model", source, error) from error


def _named_gpus(options: HfOptions) -> list[str]:
    """The GPUs that ``device_map`` and ``max_memory`` name, as ``cuda:N``."""
    mapped = options.device_map.values() if isinstance(options.device_map, dict) else [options.device_map]
    named = (str(name) for name in (*mapped, *(options.max_memory or {})))
    return [f"cuda:{name}" if name.isdigit() else name for name in named if name.isdigit() or name.startswith("cuda")]


def _placement(options: HfOptions) -> dict[str, Any]:
    limits = {int(k) if k.isdigit() else k: v for k, v in (options.max_memory or {}).items()}
    return {
        "device_map": options.device_map,
        **({"max_memory": limits} if limits else {}),
        **({"offload_folder": options.offload_folder} if options.offload_folder else {}),
    }


def _quantization(options: HfOptions, dtype: str) -> dict[str, Any]:
    # It says once per layer that it computes in another precision; the terminal belongs to the display.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if options.quantization is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    if options.quantization == "int8":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    compute = getattr(torch, dtype)
    four = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=options.quantization, bnb_4bit_compute_dtype=compute
    )
    return {"quantization_config": four}


def compiled(model: Any) -> Any:
    """The forward pass of a model, to be compiled when it is first called."""
    import torch

    # Lengths differ from batch to batch; without this each would be compiled apart.
    return torch.compile(model, dynamic=True)


def not_compiled(error: Exception) -> BackendError:
    """What is said of a model whose compiled forward pass does not run."""
    text = " ".join(str(error).split())
    return BackendError(
        f"the model could not be compiled: {type(error).__name__}: {text[:400]}",
        hint="compile = false; torch.compile needs a C++ compiler, and a model that it can trace",
    )


def input_device(model: Any) -> Any:
    """Where the inputs of a model go, which may be spread over devices or lie on a disk in part."""
    import torch

    spread = getattr(model, "hf_device_map", None)
    if not spread:
        return model.device
    # As accelerate chooses the device that the first module computes on.
    devices = [place for place in spread.values() if place not in ("cpu", "disk")]
    return torch.device(devices[0] if devices else "cpu")


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
        return "this is no language model that transformers knows, neither causal nor encoder-decoder"
    if "gpu" in low and ("quant" in low or "fp8" in low):
        return "this quantisation has no kernels for this device: use a GPU, or the model before it was quantised"
    if isinstance(error, ImportError):
        return "install the package that is named, or choose another attn_implementation or dtype"
    if isinstance(error, OSError):
        return f"are all files there and readable? {', '.join(_EXPECTED)}"
    return "does it load with from_pretrained of transformers in a Python shell?"


_EXPECTED = ("config.json", "model.safetensors (or shards)", "tokenizer.json", "tokenizer_config.json")
