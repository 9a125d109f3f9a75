"""What is compared: settings and cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPLIES = (
    *(
        "The answer is {number}.",
        "#### {number}",
        "\\boxed{{number}}",
        "{number}",
        "So {number} + 1.\nThe answer is {number}",
    ),
    *(
        "The answer is ({letter}).",
        "({letter})",
        "{letter}",
        "{letter}. {number}",
        "Answer: {letter}\n\nBecause of it.",
    ),
    *("Yes", "no", "True", " false.", "valid", ""),
)
"""What the stub generates: forms of answers that filters look for, and some that they do not find."""


@dataclass(frozen=True)
class Setting:
    """How a task is asked for, on either side."""

    label: str
    num_fewshot: int | None = None
    """None: what the task says, else 0."""
    chat: bool = False
    multiturn: bool = False
    system_instruction: str | None = None
    generation: Mapping[str, Any] | None = field(default=None, hash=False)
    """Put over the task's generation parameters."""


SYSTEM = "You answer exam questions. Be brief."
ZERO = Setting("0-shot", 0)
SETTINGS = (
    ZERO,
    Setting("as the task says"),
    Setting("2-shot", 2),
    Setting("5-shot, generation", 5, generation={"temperature": 0.5, "top_p": 0.9}),
    Setting("1-shot, system", 1, system_instruction=SYSTEM),
    Setting("chat, 0-shot, system", 0, chat=True, multiturn=True, system_instruction=SYSTEM),
    Setting("chat, 2-shot, one turn", 2, chat=True),
    Setting("chat, 2-shot, multi-turn", 2, chat=True, multiturn=True),
)
SCORED = (ZERO, SETTINGS[-1])
"""Settings in which scores are compared too: what is scored hardly depends on how it was asked."""
QUICK = (SETTINGS[1], SETTINGS[-1])
"""For very many tasks: as the task says, and with all that a chat template changes."""


@dataclass(frozen=True)
class Case:
    """One call of lm-eval."""

    task: str
    """A task or a group."""
    setting: Setting
    limit: int | None = 20
    model: str = "stub"
    """``"stub"`` or the folder of a transformers model."""
    stderr: bool = False
    """Whether standard errors are computed."""
    bootstrap: bool = True
    """False: those that need a bootstrap are left out (NaN), which takes lm-eval minutes for some metrics."""
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
