"""A pack through a model whose own attention stays in place: a mask says what each token looks at."""

from __future__ import annotations

from typing import Any

from lmrun.backends.hf.tree.packed import PackFrame


def masked_pass(model: Any, decoder: Any, frame: Any, inputs: Any, depths: Any) -> Any:
    """The decoder's output for ``inputs`` and ``depths`` ``[1, place]``, which may be longer than the frame's pack."""
    from transformers import DynamicCache

    assert isinstance(frame, PackFrame)
    before = frame.on_path
    cache = DynamicCache(config=model.config)
    for layer, (key, value) in frame.path.layers.items() if before else ():
        cache.update(key[None, :, :before], value[None, :, :before], layer)
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
