"""What a manifest may say of a model behind the ``hf`` backend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from lmrun.backends.base import ModelSpec
from lmrun.backends.tokenize import TOO_LONG, TooLong
from lmrun.errors import BackendError

_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_QUANTIZATIONS = ("int8", "nf4", "fp4")
_APART = (
    ("device", "device_map", "device_map says where every part of the model goes: leave device out"),
    ("replicas", "device_map", "every replica has a device of its own: leave one of them out"),
    ("adapter", "delta", "two changes of one model are two entries of [[models]]"),
    ("quantization", "delta", "deltas are added to whole weights: save the sum, and load that with quantization"),
    ("quantization", "gguf_file", "a GGUF file says itself how it is quantised"),
)
"""Options that exclude each other, and what to do."""


@dataclass(frozen=True, slots=True)
class HfOptions:
    """The options with their defaults."""

    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | Mapping[str, Any] | None = None
    batch_tokens: int | Literal["auto"] = "auto"
    """Tokens per batch, padding and room for the answer included."""
    max_length: int | None = None
    trust_remote_code: bool = False
    add_bos_token: bool | None = None
    tokenizer: str | None = None
    attn_implementation: str | None = None
    chat_template: str | None = None
    """File with a template, or name of one of the tokenizer's templates."""
    reasoning: Literal["auto"] | Mapping[str, str] | None = None
    """``start`` and ``end`` of what the model thinks aloud, or where to look for them; None: all is answer."""
    too_long: TooLong = "left"
    """What becomes of a prompt that does not fit."""
    adapter: str | None = None
    """Hub id or folder of a PEFT adapter that is put on the model."""
    delta: str | None = None
    """Hub id or folder of weights that are added to those of the model."""
    gguf_file: str | None = None
    """A GGUF file in the model's folder or repository, to be loaded in place of its other weights."""
    quantization: Literal["int8", "nf4", "fp4"] | None = None
    """What bitsandbytes makes of the weights while they are loaded."""
    compile: bool = False
    """Compile the forward pass with ``torch.compile``."""
    max_memory: Mapping[str, int | str] | None = None
    """With ``device_map``: what may be used of each device, by its number or name."""
    offload_folder: str | None = None
    """With ``device_map``: where weights go that fit on no device."""
    replicas: int | Literal["auto"] = 1
    """Copies of the model, each in a process and on a device of its own; ``auto``: one per CUDA device."""

    prefix_sharing: Literal["auto", "off"] = "auto"
    """Whether prefixes that requests have in common are computed once."""
    exact: bool = False
    """Every request is computed as if it were alone: no prefix is shared, and answers of other runs do not count."""

    @property
    def unshared(self) -> str | None:
        """Why no prefix is shared, as far as the manifest says so."""
        if self.exact:
            return "exact = true"
        if self.prefix_sharing == "off":
            return 'prefix_sharing = "off"'
        if self.compile:
            return "compile = true"
        if self.device_map is not None:
            return "device_map spreads the model"
        return f"attn_implementation = {self.attn_implementation}" if self.attn_implementation else None

    @classmethod
    def of(cls, spec: ModelSpec) -> HfOptions:
        """The options of a model. Raises :class:`~lmrun.errors.BackendError` for what cannot be meant."""
        known = [f.name for f in fields(cls)]
        for name in spec.options:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known)}"
                raise BackendError(f'model "{spec.name}": the backend "hf" has no option "{name}"', hint=hint)
        options = cls(**spec.options)
        options._check(spec.name)
        return options

    def _check(self, name: str) -> None:
        for problem, hint in self._problems():
            raise BackendError(f'model "{name}": {problem}', hint=hint)

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Everything that cannot be meant, and what could be."""
        if self.dtype not in _DTYPES:
            yield f'unknown dtype "{self.dtype}"', f"one of {', '.join(_DTYPES)}"
        if not _DEVICE.fullmatch(self.device):
            yield f'unknown device "{self.device}"', "auto, cpu, cuda, cuda:N or mps"
        if self.batch_tokens != "auto" and not _is_count(self.batch_tokens):
            yield f"batch_tokens is {self.batch_tokens!r}", '"auto" or a whole number above 0'
        if self.reasoning not in (None, "auto") and not _are_delimiters(self.reasoning):
            yield f"reasoning is {self.reasoning!r}", '"auto", or { start = "<think>", end = "</think>" }'
        if self.prefix_sharing not in ("auto", "off"):
            yield f"prefix_sharing is {self.prefix_sharing!r}", '"auto" or "off"'
        if self.too_long not in TOO_LONG:
            yield f"too_long is {self.too_long!r}", f"one of {', '.join(TOO_LONG)}"
        if self.quantization not in (None, *_QUANTIZATIONS):
            yield f"quantization is {self.quantization!r}", f"one of {', '.join(_QUANTIZATIONS)}"
        yield from self._misplaced()

    def _misplaced(self) -> Iterator[tuple[str, str]]:
        for one, other, hint in _APART:
            if self._given(one) and self._given(other):
                yield f"{one} and {other} exclude each other", hint
        for part in ("max_memory", "offload_folder"):
            if self._given(part) and self.device_map is None:
                yield f"{part} needs device_map", 'device_map = "auto" spreads the model over what there is'
        if self.replicas != "auto" and not _is_count(self.replicas):
            yield f"replicas is {self.replicas!r}", '"auto" or a whole number above 0'
        if self._given("replicas") and self.device not in ("auto", "cpu", "cuda"):
            yield f"replicas cannot all run on device {self.device}", 'device = "cuda" gives them cuda:0, cuda:1 …'

    def _given(self, name: str) -> bool:
        default = next(f.default for f in fields(self) if f.name == name)
        return bool(getattr(self, name) != default)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_delimiters(value: Any) -> bool:
    named = isinstance(value, Mapping) and value.keys() == {"start", "end"}
    return named and all(isinstance(text, str) and text.strip() for text in value.values())
