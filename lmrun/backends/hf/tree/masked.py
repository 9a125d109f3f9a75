"""A pack through a model whose own attention stays in place: a mask says what each token looks at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lmrun.backends.hf.tree.packed import PackFrame

_ALIBI = {"bloom": "build_alibi_tensor", "falcon": "build_alibi_tensor", "mpt": "build_mpt_alibi_tensor"}
"""By kind of model, which function of its module gives what is added to attention by the place of a key."""


def masked_pass(model: Any, decoder: Any, frame: Any, inputs: Any, depths: Any) -> Any:
    """The decoder's output for ``inputs`` and ``depths`` ``[1, place]``, which may be longer than the frame's pack."""
    from transformers import DynamicCache

    assert isinstance(frame, PackFrame)
    before = frame.on_path
    cache = DynamicCache(config=model.config)
    for layer, (key, value) in frame.path.layers.items() if before else ():
        cache.update(key[None, :, :before], value[None, :, :before], layer)
    with _alibi(decoder, frame, inputs.shape[1]):
        found = decoder(
            input_ids=inputs,
            position_ids=depths,
            attention_mask=_mask(frame, inputs.shape[1], model.dtype),
            past_key_values=cache,
            use_cache=True,
        )
    for layer, kept in enumerate(cache.layers):
        keys, values = (tensor[0, :, before : before + frame.size] for tensor in (kept.keys, kept.values))
        frame.path.keep(layer, frame.pack, keys, values)
    return found


def _mask(frame: PackFrame, length: int, dtype: Any) -> Any:
    """What is added to the logits of attention, ``[1, 1, place, path and place]``."""
    import torch

    before, size = frame.on_path, frame.size
    # Padding looks at itself, so that nothing is undefined.
    visible = torch.eye(length, before + length, dtype=torch.bool, device=frame.depths.device).roll(before, dims=1)
    visible[:size, : before + size] = frame.visible
    hidden = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return hidden.masked_fill_(~visible, torch.finfo(dtype).min)[None, None]


@contextmanager
def _alibi(decoder: Any, frame: PackFrame, length: int) -> Iterator[None]:
    """Linear biases (Press et al., arXiv:2108.12409) by where keys stand in their rows instead of in the pack."""
    import torch

    name = _ALIBI.get(decoder.config.model_type)
    if name is None:
        yield
        return
    module = vars(sys.modules[type(decoder).__module__])
    own = module[name]
    # Padding may stand anywhere: nobody else looks at it.
    depths = torch.nn.functional.pad(frame.key_depths, (0, length - frame.size))

    def at_depths(*given: Any, **named: Any) -> Any:
        if isinstance(given[0], torch.Tensor):  # the mask, by which places would be counted
            given = (torch.ones((1, frame.deepest + 1), device=depths.device), *given[1:])
        return own(*given, **named)[..., depths]

    module[name] = at_depths
    try:
        yield
    finally:
        module[name] = own
