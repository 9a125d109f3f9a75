"""Where everything is that a model is made of: its own files, its tokenizer's, and what is put on its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmrun.backends import fingerprint as files
from lmrun.backends.base import ModelSpec
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.source import Source, locate
from lmrun.errors import BackendError


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of one model, pinned."""

    model: Source
    tokenizer: Source
    adapter: Source | None = None
    delta: Source | None = None

    @classmethod
    def of(cls, spec: ModelSpec, options: HfOptions) -> Sources:
        """Find them. Raises :class:`~lmrun.errors.BackendError` for what is not there."""

        def find(name: str | None) -> Source | None:
            return locate(name, None, spec.offline) if name else None

        model = locate(spec.model, options.revision, spec.offline)
        return cls(model, find(options.tokenizer) or model, find(options.adapter), find(options.delta))


def read_config(source: Source) -> dict[str, Any]:
    """``config.json``. Raises :class:`~lmrun.errors.BackendError` where there is none, or none that can be read."""
    if not (source.folder / "config.json").is_file() and (source.folder / files.ADAPTER_CONFIG).is_file():
        base = read_adapter_config(source).get("base_model_name_or_path") or "…"
        raise BackendError(
            f"{source.name} holds an adapter, not a model", hint=f'model = "{base}", adapter = "{source.name}"'
        )
    return _read(source, "config.json")


def read_adapter_config(source: Source) -> dict[str, Any]:
    """``adapter_config.json``. Raises :class:`~lmrun.errors.BackendError` where there is none, or a broken one."""
    return _read(source, files.ADAPTER_CONFIG)


def _read(source: Source, name: str) -> dict[str, Any]:
    path = source.folder / name
    if not path.is_file():
        raise BackendError(f"there is no {name} in {source.name}", hint=f"looked in {source.folder}")
    try:
        return files.read_json(path)
    except ValueError as error:
        raise BackendError(f"{path} is not JSON: {error}", hint="save the model again") from error
