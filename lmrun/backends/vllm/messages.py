"""What a process and the engine that it has started say to each other, besides questions and replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Start:
    """How the engine is to be started."""

    arguments: Mapping[str, Any]
    """Of vLLM's ``EngineArgs``; they win over what is found here."""
    vocabulary: int
    utilization: float | None
    bounded: bool
    """Leave room for log-probabilities."""
    deaths: int = 0
    """How often an engine has died on this work."""
    adapter: str | None = None
    """Folder of a LoRA adapter."""
    adapter_rank: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine answers."""

    facts: Mapping[str, Any]
    most_at_once: int
    """Sequences that it works on at the same time."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine is no more."""

    message: str
    out_of_memory: bool
