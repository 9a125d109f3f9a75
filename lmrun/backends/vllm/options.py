"""What a manifest may say of a model behind the ``vllm`` backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf.options import HfOptions
from lmrun.errors import BackendError, did_you_mean

_SHARED = (
    "revision",
    "dtype",
    "max_length",
    "trust_remote_code",
    "add_bos_token",
    "tokenizer",
    "chat_template",
    "reasoning",
    "too_long",
)
"""Options that mean the same as for ``hf``."""


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """The options with their defaults."""

    model: HfOptions = field(default_factory=HfOptions)
    """What is said of the model itself, whoever runs it."""
    adapter: str | None = None
    """LoRA adapter: hub id or folder."""
    quantization: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    """Engines beside each other, each with the whole model."""
    gpu_memory_utilization: float | None = None
    """Share of the device's memory that the engine may plan with; None: what leaves room for log-probabilities."""
    enforce_eager: bool = False
    seed: int = 0
    engine: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of vLLM's engine; they win."""

    @classmethod
    def of(cls, spec: ModelSpec) -> VllmOptions:
        """The options of a model. Raises :class:`~lmrun.errors.BackendError` for what cannot be meant."""
        known = [*_SHARED, *(f.name for f in fields(cls) if f.name != "model")]
        for name in spec.options:
            if name not in known:
                hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
                raise BackendError(f'model "{spec.name}": the backend "vllm" has no option "{name}"', hint=hint)
        shared = {name: value for name, value in spec.options.items() if name in _SHARED}
        model = HfOptions.of(ModelSpec(spec.name, spec.backend, spec.model, shared))
        options = cls(model, **{name: value for name, value in spec.options.items() if name not in _SHARED})
        options._check(spec.name)
        return options

    @property
    def devices(self) -> int:
        """Devices of one engine."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def _check(self, name: str) -> None:
        if self.model.dtype == "float64":
            raise BackendError(f'model "{name}": vLLM does not compute in float64', hint='dtype = "float32"')
        for option in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
            if not (isinstance(value := getattr(self, option), int) and value > 0):
                raise BackendError(f'model "{name}": {option} is {value!r}', hint="a whole number above 0")
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise BackendError(f'model "{name}": gpu_memory_utilization is {share!r}', hint="a share such as 0.85")
