"""What is kept in memory of the requests and batches at a provider."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmrun.backends.api.batch.state import Batch
from lmrun.backends.api.call import Call
from lmrun.backends.api.feed import Item
from lmrun.requests import canonical_json


@dataclass(slots=True)
class Waiting:
    """Requests that one answer is for; mostly it is one."""

    items: list[Item] = field(default_factory=list)
    """Their calls without bodies, which are in the files."""
    attempts: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Watched:
    """A batch at the provider."""

    batch: Batch
    interval: float
    due: float = 0.0
    done: int = 0
    wanted: bool = True
    """Requests of this stream are in it. Others are left alone: their time may come in another stream."""


def custom_id_of(call: Call, samples: Sequence[int]) -> str:
    """A name for a call that any process finds again: the same prompt and parameters, drawn the same time."""
    content = canonical_json([call.path, call.body, samples]).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).hexdigest()
