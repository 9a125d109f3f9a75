"""Parts of a softmax over disjoint keys, and their exact merger.

Of outputs o1, o2 with log-sums l1, l2 the output over all keys is (exp(l1) o1 + exp(l2) o2) / (exp(l1) + exp(l2)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """How a layer weighs keys."""

    scale: float
    softcap: float | None = None
    window: int | None = None
    """Keys this many positions back, and further, are not seen."""
    sinks: bool = False
    """Some weight goes to keys without values, so the log-sums are needed in the end."""

    def sees_all(self, deepest: int, first: int) -> bool:
        """Whether queries up to position ``deepest`` see keys from ``first`` on."""
        return self.window is None or deepest - first < self.window

    def near(self, queries: Any, keys: Any) -> Any:
        """Which keys are in the window of which queries, by their positions, broadcast; nothing is that comes later."""
        distance = queries - keys
        return (distance >= 0) & (distance < self.window)

    def part(self, query: Any, key: Any, value: Any, visible: Any = None, *, causal: bool = False) -> tuple[Any, Any]:
        """Output and log-sum of queries ``[heads, n, size]`` over keys ``[key heads, m, size]``.

        Args:
            visible: bool ``[n, m]``; None for all.
            causal: each query sees the keys up to its own; ``visible`` says so too, if given.
        """
        shared = query.shape[0] // key.shape[0]
        if causal or visible is not None:
            key, value = (t.repeat_interleave(shared, dim=0) if shared > 1 else t for t in (key, value))
            shared = 1
        # Heads with the same keys are as good as more queries.
        folded = query.reshape(key.shape[0], -1, query.shape[2])
        # The kernel does not know queries that see nothing, which a window makes.
        plain = visible is None and self.softcap is None and query.shape[2] == value.shape[2]
        plain = plain and query.device.type == "cpu"
        attend = self._fused if plain else self._slow
        output, total = attend(folded[None], key[None], value[None], visible, causal)
        return output.reshape(*query.shape[:2], -1), total.reshape(query.shape[:2])

    def whole(self, query: Any, key: Any, value: Any, visible: Any) -> tuple[Any, Any]:
        """Like :meth:`part`, where there is no other part: the log-sum is zero where nobody needs it."""
        import torch

        if self.sinks or self.softcap is not None:
            return self.part(query, key, value, visible)
        shared = query.shape[0] // key.shape[0]
        key, value = key.repeat_interleave(shared, dim=0), value.repeat_interleave(shared, dim=0)
        attend = torch.nn.functional.scaled_dot_product_attention
        output = attend(query[None], key[None], value[None], attn_mask=visible, scale=self.scale)[0]
        return output, output.new_zeros(output.shape[:2])

    def boxes(self, query: Any, key: Any, value: Any, visible: Any) -> tuple[Any, Any]:
        """Output ``[heads, box, n, size]`` and log-sum of queries, each over the keys of its box.

        Args:
            key, value: ``[key heads, box, m, size]``.
            visible: bool ``[box, n, m]``.
        """
        heads, count, n, size = query.shape
        shared = heads // key.shape[0]
        folded = query.reshape(-1, shared, count, n, size).permute(2, 0, 1, 3, 4).reshape(count, -1, shared * n, size)
        visible = visible.repeat(1, shared, 1) if shared > 1 else visible
        plain = self.softcap is None and size == value.shape[-1] and query.device.type == "cpu"
        attend = self._fused if plain else self._slow
        output, total = attend(folded, key.transpose(0, 1), value.transpose(0, 1), visible[:, None], causal=False)
        output = output.reshape(count, -1, shared, n, output.shape[-1]).permute(1, 2, 0, 3, 4)
        total = total.reshape(count, -1, shared, n).permute(1, 2, 0, 3)
        return output.reshape(heads, count, n, -1), total.reshape(heads, count, n)

    def _fused(self, query: Any, key: Any, value: Any, visible: Any, causal: bool) -> tuple[Any, Any]:
        import torch

        mask = None
        if visible is not None:
            mask = torch.zeros(visible.shape, dtype=query.dtype).masked_fill_(~visible, -math.inf)
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        output, total = kernel(query, key, value, 0.0, causal, attn_mask=mask, scale=self.scale)
        return output, total

    def _slow(self, query: Any, key: Any, value: Any, visible: Any, causal: bool) -> tuple[Any, Any]:
        import torch

        scores = (query @ key.transpose(-1, -2)).float() * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if visible is None and causal:
            visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if visible is not None:
            scores = scores.masked_fill(~visible, -math.inf)
        total = scores.logsumexp(dim=-1)
        # A query may see none of these keys; then its weights are zero, not undefined.
        weights = torch.exp(scores - total.clamp(min=torch.finfo(torch.float32).min)[..., None])
        return (weights.to(value.dtype) @ value), total


@dataclass(frozen=True, slots=True)
class Merged:
    """The outputs so far, float32, and their log-sums: ``[heads, place, size]`` and ``[heads, place]``."""

    outputs: Any
    totals: Any

    @classmethod
    def of(cls, query: Any, value: Any) -> Merged:
        """Nothing yet, for these queries."""
        import torch

        shape = query.shape[:2]
        outputs = query.new_zeros((*shape, value.shape[2]), dtype=torch.float32)
        return cls(outputs, query.new_zeros(shape, dtype=torch.float32))

    def begin(self, places: slice, output: Any, total: Any) -> None:
        """The first part for these places."""
        self.outputs[:, places] = output.float()
        self.totals[:, places] = total.float()

    def add(self, places: slice, output: Any, total: Any) -> None:
        """A further part, over other keys."""
        import torch

        before = self.totals[:, places]
        after = torch.logaddexp(before, total)
        kept, gained = torch.exp(before - after)[..., None], torch.exp(total - after)[..., None]
        self.outputs[:, places].mul_(kept).add_(output * gained)
        self.totals[:, places] = after

    def output(self, sinks: Any = None) -> Any:
        """The outputs; ``sinks`` [heads] are logits of keys without values."""
        if sinks is None:
            return self.outputs
        import torch

        return self.outputs * torch.sigmoid(self.totals - sinks[:, None].float())[..., None]
