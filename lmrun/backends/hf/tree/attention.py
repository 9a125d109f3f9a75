"""An attention function for transformers, which looks up how the forward pass at hand is laid out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from lmrun.backends.hf.tree.softmax import Merged, Rule

NAME = "lmrun_tree"
"""Of the attention function, as transformers knows it."""


class Frame(Protocol):
    """How the tokens of one forward pass are laid out, one after the other in one row, and what each looks at."""

    @property
    def size(self) -> int:
        """Tokens; what comes after them is padding."""
        ...

    @property
    def depths(self) -> Any:
        """Tensor of the position of each token in its row."""
        ...

    def attend(self, layer: int, rule: Rule, query: Any, key: Any, value: Any) -> Merged:
        """The attention of a layer, over ``[heads, place, size]``."""
        ...


_frame: ContextVar[Frame] = ContextVar("frame")


@contextmanager
def framed(frame: Frame) -> Iterator[None]:
    """A forward pass that is laid out like this."""
    token = _frame.set(frame)
    try:
        yield
    finally:
        _frame.reset(token)


def tree_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Any = None,
    **_: Any,
) -> tuple[Any, None]:
    """An attention function of transformers: ``[1, heads, place, size]`` to ``[1, place, heads, size]``.

    Args:
        s_aux: ``[heads]``, logits of keys without values (attention sinks).
    """
    frame = _frame.get()
    rule = Rule(query.shape[-1] ** -0.5 if scaling is None else scaling, softcap, sliding_window, s_aux is not None)
    parts = (tensor[0, :, : frame.size] for tensor in (query, key, value))
    found = frame.attend(id(module), rule, *parts).output(s_aux).transpose(0, 1)
    output = query.new_zeros((1, query.shape[2], *found.shape[1:]))
    output[0, : frame.size] = found
    return output, None
