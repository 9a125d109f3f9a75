"""The manifest that ``lmrun init`` starts you with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmrun.manifest.backends import API
from lmrun.manifest.schema import folder_name


def scaffold(
    name: str = "first",
    model: str = "bundled:demo",
    backend: str = "hf",
    tasks: Sequence[str] = ("demo",),
) -> str:
    """Text of a manifest that runs as it is, with comments on what to change first.

    ``name`` may be any text, such as that of a file; what cannot be part of a folder's name is left out.
    """
    head = _HEAD.format(name=_quoted(folder_name(name)))
    entry = _MODEL.format(backend=_quoted(backend), model=_quoted(model))
    entry += _LOCAL_KEYS.get(backend) or (_api_keys(backend) if backend in API else _PLUGIN_KEYS)
    tail = (_BUDGET if backend in API else "") + _TAIL
    return head + entry + _TASKS_HEAD + "".join(_TASK.format(name=_quoted(task)) for task in tasks) + tail


def _api_keys(backend: str) -> str:
    """What a model behind an API usually needs; absent, the provider itself is asked."""
    tokenizer = (
        '# tokenizer = "ORG/MODEL"                # the model\'s: prompts are sent as token ids, and counted exactly\n'
    )
    provider, key = ("Anthropic", "ANTHROPIC_API_KEY") if backend == "anthropic" else ("OpenAI", "OPENAI_API_KEY")
    return _API_KEYS.format(provider=provider, key=key, tokenizer=tokenizer if backend == "openai-completions" else "")


def _quoted(text: str) -> str:
    import tomlkit

    item: Any = tomlkit.string(text)
    return str(item.as_string())


_HEAD = """\
# What to evaluate, and how. `lmrun validate` checks it, `lmrun preview` shows the prompts, `lmrun batch` runs it.
# A list as a value of most keys of a model or task is a matrix axis: every value makes a variant of its own.
name = {name}

[defaults]
seed = 1234
limit = 100                      # docs per task: try things out quickly; take it out for scores to report

"""
_MODEL = """\
[[models]]                       # one such block per model
backend = {backend}
model = {model}
"""
_HF_KEYS = """\
dtype = "auto"                   # or "float32", "bfloat16", "float16"
device = "auto"                  # or "cpu", "cuda", "cuda:1", "mps"
# revision = "main"

"""
_VLLM_KEYS = """\
dtype = "auto"                   # or "float32", "bfloat16", "float16"
# tensor_parallel_size = 2       # GPUs that share the model
# revision = "main"

"""
_LOCAL_KEYS = {"hf": _HF_KEYS, "vllm": _VLLM_KEYS}
_API_KEYS = """\
# base_url = "http://127.0.0.1:8000/v1"   # your server; absent: {provider}, with the key in ${key}
# api_key_env = "MY_API_KEY"             # variable that holds the key of another server
{tokenizer}# concurrency = {{ max = 32 }}             # most requests in flight
# price = {{ input = 0.5, output = 1.5 }}  # US dollars per million tokens, where no price is known

"""
_BUDGET = """\
# [run]
# budget_usd = 5.00              # stop, resumably, before a run costs more; `lmrun plan` says what it will cost

"""
_PLUGIN_KEYS = """\
# options = { key = "value" }    # what this backend understands

"""
_TASKS_HEAD = "# A task, group, tag, wildcard, or path of a YAML; `lmrun ls tasks` lists them.\n"
_TASK = """\
[[tasks]]
name = {name}
# num_fewshot = [0, 5]
# apply_chat_template = true

"""
_TAIL = """\
# [tasks_path]
# paths = ["my_tasks/"]          # folders with task YAMLs of your own, relative to this file

# [data]
# mirror = "mirror/"             # datasets from a folder, not from the hub; `lmrun data fetch` makes one
# offline = true
"""
