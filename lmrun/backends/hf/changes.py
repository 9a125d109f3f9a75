"""What is put on the weights of a model once it is loaded: an adapter, or a delta."""

from __future__ import annotations

import warnings
from typing import Any

from lmrun.backends.hf.sources import read_adapter_config
from lmrun.backends.source import Source
from lmrun.errors import BackendError


def put_on(model: Any, adapter: Source) -> Any:
    """A model with a PEFT adapter in its layers; still a model of transformers.

    Raises:
        BackendError: the adapter is for another model, or cannot be read.
    """
    import peft

    options = {"revision": adapter.commit} if adapter.commit else {}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            adapted = peft.PeftModel.from_pretrained(model, adapter.name, **options)
    except Exception as error:  # boundary: loaders raise anything
        raise _misfit(adapter, model, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    # Where layers are missing, or are too many, PEFT says so at most and goes on with a model that nobody trained.
    missing = [str(each.message) for each in said if "missing adapter keys" in str(each.message)]
    if missing:
        raise _misfit(adapter, model, missing[0][:300])
    surplus = _names(peft.load_peft_weights(adapter.name, device="cpu", **options)) - _names(adapted.state_dict())
    if surplus:
        raise _misfit(adapter, model, f"{len(surplus)} of its tensors have no place there, such as {min(surplus)}")
    return adapted.get_base_model()


def _names(weights: Any) -> set[str]:
    # A loaded tensor has the name of its adapter before the last part of its own.
    return {name.replace(".default.", ".") for name in weights}


def _misfit(adapter: Source, model: Any, why: str) -> BackendError:
    base = read_adapter_config(adapter).get("base_model_name_or_path") or "a model that it does not name"
    return BackendError(
        f"the adapter {adapter.name} does not fit {model.name_or_path}: {why}", hint=f"it was trained on {base}"
    )


def add_delta(model: Any, delta: Any, name: str) -> None:
    """Add the weights of ``delta`` to those of ``model``, in place. Weights that are tied are added once.

    Raises:
        BackendError: their weights differ in name or shape.
    """
    import torch

    added = dict(delta.named_parameters())
    with torch.no_grad():
        for key, weight in model.named_parameters():
            other = added.get(key)
            if other is None or other.shape != weight.shape:
                found = "has no such weights" if other is None else f"has {tuple(other.shape)}"
                raise BackendError(
                    f"the delta {name} does not fit: {key} is {tuple(weight.shape)}, and the delta {found}",
                    hint=f"is {model.name_or_path} the model that the delta was made from?",
                )
            weight.add_(other)
