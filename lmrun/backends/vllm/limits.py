"""How much vLLM may do at once when it scores, so that log-probabilities fit beside what it has reserved.

When it starts, vLLM measures the memory of a forward pass and gives all that is left of its share to its key-value
cache. Log-probabilities are not part of that measurement: a step computes the logits of every token of a prompt over
the whole vocabulary, in float32, and of every sequence for the next token. Their room is left here.
"""

from __future__ import annotations

from dataclasses import dataclass

_BYTES_PER_LOGIT = 12
"""The logit itself (4 at most), its log-softmax in float32, and as much again for the rank of the scored token."""
_SHARE = 0.1
"""Of the device's memory, that log-probabilities may take."""
_BESIDE = 0.05
"""Of the device's memory, that is nobody's: the context of the device, buffers of its libraries, fragmentation."""
_DEFAULT_UTILIZATION = 0.9
_MOST_TOKENS, _FEWEST_TOKENS = 8192, 256
_MOST_SEQUENCES = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Arguments of vLLM's engine that bound its memory."""

    max_num_batched_tokens: int
    max_num_seqs: int
    gpu_memory_utilization: float

    def smaller(self) -> Limits:
        """What is tried after the engine has died: half at a time, and a tenth of the device's memory less."""
        return Limits(
            max(_FEWEST_TOKENS // 2, self.max_num_batched_tokens // 2),
            max(1, self.max_num_seqs // 4),
            round(max(0.1, self.gpu_memory_utilization - 0.1), 3),
        )


def logprob_bytes(tokens: int, sequences: int, vocabulary: int) -> int:
    """Memory of the log-probabilities of one step with so many prompt tokens and sequences, at most."""
    return (tokens + sequences) * vocabulary * _BYTES_PER_LOGIT


def scoring_limits(vocabulary: int, memory: int, utilization: float | None = None) -> Limits:
    """Limits for a device of ``memory`` bytes.

    Tokens per step are the largest power of two whose log-probabilities fit into a tenth of the memory, or into what
    the user's ``utilization`` leaves. Without one, the engine gets what is left.
    """
    room = _SHARE if utilization is None else max(0.0, 1 - _BESIDE / 2 - utilization)
    tokens = _MOST_TOKENS
    while tokens > _FEWEST_TOKENS and logprob_bytes(tokens, _sequences(tokens), vocabulary) > room * memory:
        tokens //= 2
    if utilization is None:
        taken = logprob_bytes(tokens, _sequences(tokens), vocabulary) / memory
        utilization = min(_DEFAULT_UTILIZATION, round(max(0.1, 1 - _BESIDE - taken), 3))
    return Limits(tokens, _sequences(tokens), utilization)


def _sequences(tokens: int) -> int:
    return min(_MOST_SEQUENCES, tokens // 4)
