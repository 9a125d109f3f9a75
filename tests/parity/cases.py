"""What is compared: settings and cases."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """How a task is asked for, on either side."""

    label: str
    num_fewshot: int | None = None
    """None: what the task says, else 0."""
    chat: bool = False
    multiturn: bool = False
    system_instruction: str | None = None


SYSTEM = "You answer exam questions. Be brief."
ZERO = Setting("0-shot", 0)
SETTINGS = (
    ZERO,
    Setting("as the task says"),
    Setting("2-shot", 2),
    Setting("5-shot", 5),
    Setting("1-shot, system", 1, system_instruction=SYSTEM),
    Setting("chat, 0-shot, system", 0, chat=True, multiturn=True, system_instruction=SYSTEM),
    Setting("chat, 2-shot, one turn", 2, chat=True),
    Setting("chat, 2-shot, multi-turn", 2, chat=True, multiturn=True),
)
SCORED = (ZERO, SETTINGS[-1])
"""Settings in which scores are compared too: what is scored hardly depends on how it was asked."""


@dataclass(frozen=True)
class Case:
    """One call of lm-eval."""

    task: str
    """A task or a group."""
    setting: Setting
    limit: int | None = 20
    model: str = "stub"
    """``"stub"`` or the folder of a transformers model."""
    bootstrap_iters: int = 0
    """Draws for standard errors that need them; 0 leaves all standard errors out."""
    batch_size: int = 8
    include_path: Path | None = None
    """A folder of task files, for tasks that lm-eval does not have itself."""

    @property
    def label(self) -> str:
        return f"{self.task} [{self.setting.label}]"

    def plan(self) -> dict[str, Any]:
        """The case as ``lmeval_runner.py`` reads it (without ``out``)."""
        values = {**asdict(self), **asdict(self.setting)}
        del values["setting"], values["task"]
        return {
            **values,
            "label": self.label,
            "tasks": [self.task],
            "include_path": str(self.include_path) if self.include_path else None,
        }
