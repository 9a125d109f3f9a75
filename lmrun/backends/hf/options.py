"""What a manifest may say of a model behind the ``hf`` backend."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from lmrun.backends.base import ModelSpec
from lmrun.backends.tokenize import TOO_LONG, TooLong
from lmrun.errors import BackendError

_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


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
        if self.dtype not in _DTYPES:
            raise BackendError(f'model "{name}": unknown dtype "{self.dtype}"', hint=f"one of {', '.join(_DTYPES)}")
        if not _DEVICE.fullmatch(self.device):
            raise BackendError(f'model "{name}": unknown device "{self.device}"', hint="auto, cpu, cuda, cuda:N or mps")
        if self.batch_tokens != "auto" and not (isinstance(self.batch_tokens, int) and self.batch_tokens > 0):
            raise BackendError(
                f'model "{name}": batch_tokens is {self.batch_tokens!r}', hint='"auto" or a whole number above 0'
            )
        if self.reasoning not in (None, "auto") and not _are_delimiters(self.reasoning):
            raise BackendError(
                f'model "{name}": reasoning is {self.reasoning!r}',
                hint='"auto", or { start = "<think>", end = "</think>" }',
            )
        if self.prefix_sharing not in ("auto", "off"):
            raise BackendError(f'model "{name}": prefix_sharing is {self.prefix_sharing!r}', hint='"auto" or "off"')
        if self.too_long not in TOO_LONG:
            raise BackendError(f'model "{name}": too_long is {self.too_long!r}', hint=f"one of {', '.join(TOO_LONG)}")
        if self.device_map is not None and self.device != "auto":
            raise BackendError(
                f'model "{name}": device and device_map exclude each other',
                hint="device_map says where every part of the model goes: leave device out",
            )


def _are_delimiters(value: Any) -> bool:
    named = isinstance(value, Mapping) and value.keys() == {"start", "end"}
    return named and all(isinstance(text, str) and text.strip() for text in value.values())
