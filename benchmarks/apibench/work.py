"""What is asked: two tasks that lmrun and lm-eval both read, and the same requests for clients without tasks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmrun.testing.tokens import Tokens, save_tokenizer

Kind = Literal["completions", "chat"]
CHOICES = 4
MAX_TOKENS = 16
SHOTS = 10
_YAML = """task: bench_{kind}_{docs}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
metadata: {{version: 1.0}}
{more}
"""
_MORE = {
    "completions": """output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: 0
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}]""",
    "chat": f"""output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n\\n"], max_gen_toks: {MAX_TOKENS}, do_sample: false}}
metric_list: [{{metric: exact_match}}]""",
}


@dataclass(frozen=True)
class Work:
    """So many requests of one kind, all different."""

    folder: Path
    kind: Kind
    requests: int

    @property
    def docs(self) -> int:
        return self.requests // CHOICES if self.kind == "completions" else self.requests

    @property
    def task(self) -> str:
        return f"bench_{self.kind}_{self.docs}"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    def write(self) -> Work:
        """Write task, data and tokenizer."""
        save_tokenizer(self.tokenizer)
        tasks = self.folder / "tasks"
        tasks.mkdir(parents=True, exist_ok=True)
        data = self.folder / f"{self.task}.jsonl"
        data.write_text("".join(json.dumps(doc(i)) + "\n" for i in range(self.docs)), encoding="utf-8")
        text = _YAML.format(kind=self.kind, docs=self.docs, data=json.dumps(str(data)), more=_MORE[self.kind])
        (tasks / f"{self.task}.yaml").write_text(text, encoding="utf-8")
        return self

    def bodies(self) -> list[dict[str, Any]]:
        """The bodies that these requests have on the wire."""
        if self.kind == "chat":
            common = {"model": "tiny", "max_tokens": MAX_TOKENS, "temperature": 0.0, "stop": ["\n\n"]}
            return [{**common, "messages": [{"role": "user", "content": doc(i)["question"]}]} for i in range(self.docs)]
        tokens = Tokens()
        rows = [doc(i) for i in range(self.docs)]
        texts = [f"{row['question']} {choice}" for row in rows for choice in row["choices"]]
        common = {"model": "tiny", "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}
        return [{**common, "prompt": tokens.encode(text)} for text in texts]


def doc(i: int) -> dict[str, Any]:
    """A question with ten examples before it, some 90 tokens, and four choices of several tokens."""
    shots = " ".join(f"Question {(i * 31 + k * 7) % 50} and {(i + k) % 50} ? Answer {k}" for k in range(SHOTS))
    choices = [f"the number {(i + k) % 50} and {k}" for k in range(CHOICES)]
    return {"question": f"{shots} Question {i} ?\nAnswer", "choices": choices, "answer": str(i)}
