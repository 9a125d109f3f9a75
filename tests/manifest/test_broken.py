"""Every kind of mistake in a manifest: where it is reported, what was expected, and what the hint says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lmrun.errors import ExitCode, ManifestError
from lmrun.manifest import load_manifest

MODEL = '[[models]]\nbackend = "hf"\nmodel = "bundled:demo"\n'
TASK = '[[tasks]]\nname = "demo"\n'
GOOD = MODEL + TASK
"""Five lines without a mistake; what a case adds after them starts at line 6."""


@dataclass(frozen=True)
class Found:
    """One problem as it must be reported; texts are parts of what is shown."""

    place: tuple[int, int]
    message: str
    expected: str = ""
    hint: str = ""


BROKEN: dict[str, tuple[str, list[Found]]] = {
    # --- unknown keys and tables
    "unknown key at the top": (
        'nane = "x"\n' + GOOD,
        [Found((1, 1), "unknown key `nane`", "one of name, include", "did you mean 'name'?")],
    ),
    "unknown key in a model": (
        MODEL + 'dtipe = "auto"\n' + TASK,
        [Found((4, 1), "unknown key `dtipe` in [[models]]", "dtype, device", "did you mean 'dtype'?")],
    ),
    "unknown key in a task": (
        GOOD + "  num_fewshots = 5\n",
        [Found((6, 3), "unknown key `num_fewshots` in [[tasks]]", "num_fewshot,", "did you mean 'num_fewshot'?")],
    ),
    "unknown key in defaults": (
        GOOD + "[defaults]\nlimits = 5\n",
        [Found((7, 1), "unknown key `limits` in [defaults]", "seed, limit", "did you mean 'limit'?")],
    ),
    "unknown key by a dotted key": (
        "run.cash = 1\n" + GOOD,
        [Found((1, 5), "unknown key `cash` in [run]", "runs_dir, cache", "did you mean 'cache'?")],
    ),
    "unknown key within an inline table": (
        'data = { offline = true, miror = "x" }\n' + GOOD,
        [Found((1, 26), "unknown key `miror` in [data]", "mirror, offline", "did you mean 'mirror'?")],
    ),
    "unknown table": (
        GOOD + "[dat]\noffline = true\n",
        [Found((6, 2), "unknown table `dat`", "tasks_path, data, decontaminate, run", "did you mean 'data'?")],
    ),
    "unknown array of tables": (
        GOOD + '[[task]]\nname = "x"\n[[task]]\nname = "y"\n',
        [Found((6, 3), "unknown table `task`", "models, tasks", "did you mean 'tasks'?")],
    ),
    "key of another table": (
        "limit = 5\n" + GOOD,
        [Found((1, 1), "unknown key `limit`", "defaults", "`limit` belongs in [defaults] or [[tasks]]")],
    ),
    "task setting in a model": (
        MODEL + "num_fewshot = 5\n" + TASK,
        [Found((4, 1), "unknown key `num_fewshot` in [[models]]", "", "belongs in [defaults] or [[tasks]]")],
    ),
    "key of lm-eval's command line": (
        MODEL + "batch_size = 8\n" + TASK,
        [Found((4, 1), "unknown key `batch_size`", "batch_tokens", "`batch_tokens` takes its place and counts tokens")],
    ),
    "option of a plug-in backend beside its table": (
        '[[models]]\nbackend = "scripted"\nmodel = "x"\nlatency = 2\n' + TASK,
        [Found((4, 1), "unknown key `latency` in [[models]]", "options", "options = { latency = … }")],
    ),
    # --- wrong types and values
    "number in quotes": (
        GOOD + 'num_fewshot = "5"\n',
        [Found((6, 15), '`num_fewshot` cannot be "5"', "a whole number, 0 or more", "without quotes: 5")],
    ),
    "truth in quotes": (
        GOOD + 'apply_chat_template = "True"\n',
        [Found((6, 23), '`apply_chat_template` cannot be "True"', "true or false", "without quotes: true")],
    ),
    "number where a text belongs": (
        MODEL + "revision = 2\n" + TASK,
        [Found((4, 12), "`revision` cannot be 2", "text in quotes", 'in quotes: "2"')],
    ),
    "truth where a number belongs": (
        GOOD + "num_fewshot = true\n",
        [Found((6, 15), "`num_fewshot` cannot be true", "a whole number")],
    ),
    "fraction where a whole number belongs": (
        MODEL + "max_length = 2048.0\n" + TASK,
        [Found((4, 14), "`max_length` cannot be 2048.0", "a whole number above 0")],
    ),
    "negative num_fewshot": (
        GOOD + "num_fewshot = -1\n",
        [Found((6, 15), "`num_fewshot` cannot be -1", "a whole number, 0 or more")],
    ),
    "wrong value within an axis": (
        GOOD + "num_fewshot = [0,\n  5,\n  -25]\n",
        [Found((8, 3), "`num_fewshot` cannot be -25", "a whole number, 0 or more")],
    ),
    "a number where several settings are": (
        '[[models]]\nbackend = "openai-chat"\nmodel = "m"\nconcurrency = 4\n' + TASK,
        [Found((4, 15), "`concurrency` cannot be 4", "a table in braces: { start = …, max = … }")],
    ),
    "empty axis": (
        GOOD + "num_fewshot = []\n",
        [Found((6, 15), "`num_fewshot` cannot be []", "at least one value")],
    ),
    "limit 0": (
        GOOD + "[defaults]\nlimit = 0\n",
        [Found((7, 9), "`limit` cannot be 0", "a number of docs above 0, or a share")],
    ),
    "limit neither a number of docs nor a share": (
        GOOD + "limit = 1.5\n",
        [Found((6, 9), "`limit` cannot be 1.5", "a share of the docs between 0 and 1")],
    ),
    "unknown dtype": (
        MODEL + 'dtype = "bfloat61"\n' + TASK,
        [Found((4, 9), '`dtype` cannot be "bfloat61"', '"auto", "float32"', "did you mean 'bfloat16'")],
    ),
    "dtype by its short name": (
        MODEL + 'dtype = ["float32", "fp16"]\n' + TASK,
        [Found((4, 21), '`dtype` cannot be "fp16"', '"float16"', "here it is called `float16`")],
    ),
    "unknown device": (
        MODEL + 'device = "gpu"\n' + TASK,
        [Found((4, 10), '`device` cannot be "gpu"', '"cuda:0"', "here it is called `cuda`")],
    ),
    "batch_tokens 0": (
        MODEL + "batch_tokens = 0\n" + TASK,
        [Found((4, 16), "`batch_tokens` cannot be 0", '"auto" or a whole number above 0')],
    ),
    "list where no axis is possible": (
        GOOD + "[defaults]\nlimit = [1, 2]\n",
        [Found((7, 9), "`limit` cannot be [1, 2]", "a number of docs", "a list is not possible for this key")],
    ),
    "wrong type in generation": (
        GOOD + 'generation = { until = ["a"], temperature = "hot" }\n',
        [Found((6, 45), '`temperature` cannot be "hot"', "a number, 0 or more")],
    ),
    "table as a free generation key": (
        GOOD + "[tasks.generation]\nlogit_bias = { x = 1 }\n",
        [Found((7, 14), "`logit_bias` cannot be a table", "text, a number, true or false")],
    ),
    "name that no folder can have": (
        'name = "my run/1"\n' + GOOD,
        [Found((1, 8), '`name` cannot be "my run/1"', "letters, digits, dots, dashes")],
    ),
    "models as one table": (
        '[models]\nbackend = "hf"\nmodel = "x"\n' + TASK,
        [Found((1, 1), "`models` cannot be a table", "one table per entry, each headed [[models]]")],
    ),
    "tasks as a list of names": (
        'tasks = ["demo"]\n' + MODEL,
        [Found((1, 10), '`tasks` cannot be "demo"', "a table, headed [[tasks]]")],
    ),
    "table written twice over": (
        GOOD + "[[defaults]]\nseed = 1\n",
        [Found((6, 1), "`defaults` cannot be a list of tables", "a table, headed [defaults]")],
    ),
    # --- what is missing
    "empty file": (
        "",
        [
            Found((1, 1), "there are no models", "at least one entry, for example [[models]]"),
            Found((1, 1), "there are no tasks", "at least one entry, for example [[tasks]]"),
        ],
    ),
    "no models": (TASK, [Found((1, 1), "there are no models", "at least one entry")]),
    "no tasks": ("tasks = []\n" + MODEL, [Found((1, 9), "there are no tasks", '[[tasks]] with name = "demo"')]),
    "task without a name": (
        MODEL + "[[tasks]]\nnum_fewshot = 1\n",
        [Found((4, 1), "`name` is missing", 'name = "arc_easy"')],
    ),
    "model without a model": (
        '[[models]]\nbackend = "hf"\n' + TASK,
        [Found((1, 1), "`model` is missing", 'model = "org/name"')],
    ),
    "model without a backend": (
        '[[models]]\nmodel = "x"\ndtype = "auto"\n' + TASK,
        [Found((1, 1), "`backend` is missing", 'backend = "hf"')],
    ),
    # --- backends
    "backend with a typing error": (
        '[[models]]\nbackend = "scriptd"\nmodel = "x"\ndtype = "auto"\n' + TASK,
        [Found((2, 11), '`backend` cannot be "scriptd"', '"hf", ', "did you mean 'scripted'")],
    ),
    "backend that is not installed": (
        '[[models]]\nbackend = "mlx-chat"\nmodel = "x"\nbase_url = "http://h"\n' + TASK,
        [
            Found(
                (2, 11),
                '`backend` cannot be "mlx-chat"',
                '"scripted"',
                "backends come as plug-ins; `lmrun ls backends`",
            )
        ],
    ),
    "backend by its name in lm-eval": (
        '[[models]]\nbackend = "huggingface"\nmodel = "x"\n' + TASK,
        [Found((2, 11), '`backend` cannot be "huggingface"', '"hf"', "here it is called `hf`")],
    ),
    # --- what cannot go together
    "turns without a chat template": (
        GOOD + "fewshot_as_multiturn = true\n",
        [
            Found(
                (6, 1),
                "without a chat template",
                "`apply_chat_template = true` with it",
                "leave fewshot_as_multiturn out",
            )
        ],
    ),
    "turns without a chat template in one variant": (
        GOOD + "apply_chat_template = [true, false]\nfewshot_as_multiturn = true\n",
        [Found((7, 1), "without a chat template", "`apply_chat_template = true` with it")],
    ),
    "turns by default without a chat template": (
        GOOD + "[defaults]\nfewshot_as_multiturn = true\n",
        [Found((7, 1), '"demo": `fewshot_as_multiturn = true` without a chat template')],
    ),
    "device and device_map": (
        MODEL + 'device = "cpu"\ndevice_map = "auto"\n' + TASK,
        [Found((5, 1), "`device` and `device_map` both say", "one of the two", "device_map spreads")],
    ),
    "no such way to spread a model": (
        MODEL + 'device_map = "autoo"\n' + TASK,
        [Found((4, 14), '`device_map` cannot be "autoo"', '"balanced"', "did you mean 'auto'?")],
    ),
    "memory in words": (
        MODEL + 'device_map = "auto"\nmax_memory = { 0 = "20 gigs" }\n' + TASK,
        [Found((5, 14), "`max_memory` cannot be a table", '"20GiB"')],
    ),
    "a file outside of the model": (
        MODEL + 'gguf_file = "../x.gguf"\n' + TASK,
        [Found((4, 13), '`gguf_file` cannot be "../x.gguf"', "inside the folder")],
    ),
    "a word of lm-eval for reasoning": (
        MODEL + 'think_end_token = "</think>"\n' + TASK,
        [Found((4, 1), "unknown key `think_end_token`", "reasoning", "here it is called `reasoning`")],
    ),
    "reasoning without an end": (
        MODEL + 'reasoning = { start = "<think>" }\n' + TASK,
        [Found((4, 13), "`reasoning` cannot be a table", '"auto", or { start = "<think>", end = "</think>" }')],
    ),
    "a policy that there is not": (
        MODEL + 'too_long = "rigth"\n' + TASK,
        [Found((4, 12), '`too_long` cannot be "rigth"', 'one of "left", "middle"')],
    ),
    "two models of one name": (
        '[[models]]\nname = "a"\nbackend = "hf"\nmodel = "x"\n[[models]]\nname = "a"\nbackend = "hf"\nmodel = "y"\n'
        + TASK,
        [Found((6, 8), "two models are called `a` (the other is at ", "a name of its own")],
    ),
    "two models of one name that was not written": (
        '[[models]]\nbackend = "hf"\nmodel = "a/x"\n[[models]]\nbackend = "hf"\nmodel = "b/x"\n' + TASK,
        [Found((4, 1), "two models are called `x`", "a name of its own", "called by the last part of its id")],
    ),
    "axis of a model with a value twice": (
        MODEL + 'dtype = ["float32", "float32"]\n' + TASK,
        [Found((1, 1), "an axis of `demo[dtype=float32]` lists a value twice", "each value once")],
    ),
    "axis of a task with a value twice": (
        GOOD + "num_fewshot = [5, 0, 5]\n",
        [Found((4, 1), "an axis of `demo` lists a value twice", "each value once")],
    ),
    "one task twice": (
        GOOD + TASK,
        [Found((6, 1), "`demo` is here twice with the same settings (first at ", "each task once")],
    ),
    # --- files and folders
    "missing mirror": (
        GOOD + '[data]\nmirror = "mirrored"\n',
        [Found((7, 10), "mirrored does not exist", "an existing folder")],
    ),
    "mirror that is a file": (
        GOOD + '[data]\nmirror = "m.toml"\n',
        [Found((7, 10), "m.toml is not a folder", "an existing folder")],
    ),
    "missing folder of tasks": (
        GOOD + '[tasks_path]\npaths = ["my_task"]\n',
        [Found((7, 10), "my_task does not exist", "an existing folder", "did you mean 'my_tasks'?")],
    ),
    "missing task YAML": (
        MODEL + '[[tasks]]\nname = ["demo", "my_tasks/x.yml"]\n',
        [Found((5, 17), "my_tasks/x.yml", "the path of a task YAML", "did you mean 'x.yaml'?")],
    ),
    "missing model folder": (
        '[[models]]\nbackend = "hf"\nmodel = "./my_model"\n' + TASK,
        [Found((3, 9), "there is nothing at ", "a folder with a model, or a hub id")],
    ),
    "missing template file": (
        MODEL + 'chat_template = "chat.jinja"\n' + TASK,
        [Found((4, 17), "there is no file ", "a file with a chat template, or the name")],
    ),
    "unknown bundled model": (
        '[[models]]\nbackend = "hf"\nmodel = "bundled:dmeo"\n' + TASK,
        [Found((3, 9), "no bundled model is called `bundled:dmeo`", "bundled:demo", "did you mean 'bundled:demo'?")],
    ),
    # --- includes
    "missing include": (
        'include = ["other.toml"]\n' + GOOD,
        [Found((1, 12), "included file 'other.toml': no such file", "relative to the folder of this file")],
    ),
    "include of itself": (
        'include = "m.toml"\n' + GOOD,
        [Found((1, 11), "files include each other in a circle: m.toml -> m.toml", "does not lead back here")],
    ),
    "include that is no path": (
        "include = 5\n" + GOOD,
        [Found((1, 11), "`include` has a wrong value", "the path of a manifest in quotes")],
    ),
    # --- secrets
    "key in a model": (
        MODEL + 'api_key = "abc"\n' + TASK,
        [Found((4, 1), "`api_key` holds what looks like a secret", 'api_key_env = "NAME"', "revoke it")],
    ),
    "token in options": (
        '[[models]]\nbackend = "scripted"\nmodel = "x"\noptions = { deep = [{ hf_token = "abc" }] }\n' + TASK,
        [Found((4, 23), "`hf_token` holds what looks like a secret", "name of the environment variable")],
    ),
    "value that looks like a key": (
        MODEL + 'tokenizer = "sk-proj-0123456789abcdef"\n' + TASK,
        [Found((4, 1), "`tokenizer` holds what looks like a secret", "api_key_env")],
    ),
    # --- not TOML
    "text without quotes": (
        MODEL + "[[tasks]]\nname = demo\n",
        [Found((5, 8), "not valid TOML: invalid value", "a string in quotes", "put strings in quotes")],
    ),
    "Python's True": (
        GOOD + "apply_chat_template = True\n",
        [Found((6, 23), "not valid TOML: invalid value", "true, false", "true and false are written in small letters")],
    ),
    "Python's None": (
        GOOD + "num_fewshot = None\n",
        [Found((6, 15), "not valid TOML: invalid value", "", "leave the key out")],
    ),
    "string without an end": (
        'name = "x\n' + GOOD,
        [Found((1, 10), "not valid TOML", "a closing quote", "text of several lines")],
    ),
    "list without an end": (
        GOOD + "num_fewshot = [0, 5\n",
        [Found((7, 1), "not valid TOML: unclosed array", "a closing ]")],
    ),
    "key without a value": (
        GOOD + "num_fewshot\n",
        [Found((6, 12), "not valid TOML: expected '=' after a key", "key = value")],
    ),
    "key twice": (
        GOOD + 'name = "other"\n',
        [Found((6, 15), "not valid TOML: cannot overwrite a value", "each key and [table] once", "two brackets")],
    ),
    "table twice": (
        GOOD + "[run]\n[run]\n",
        [Found((7, 5), "not valid TOML: cannot declare ('run',) twice", "each key and [table] once")],
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "my_tasks" / "x.yaml").write_text("task: x\n")
    return tmp_path


@pytest.mark.parametrize("case", BROKEN)
def test_a_mistake_is_shown_where_it_is_with_what_was_expected(case: str, folder: Path) -> None:
    text, expected = BROKEN[case]
    file = folder / "m.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        load_manifest(file)
    places = [(problem.location.line, problem.location.column) for problem in caught.value.problems if problem.location]
    assert places == [found.place for found in expected]
    for problem, found in zip(caught.value.problems, expected, strict=True):
        assert problem.location is not None
        assert problem.location.file == file
        assert found.message in problem.message
        assert found.expected in (problem.expected or "")
        assert found.hint in (problem.hint or "")
    assert caught.value.exit_code is ExitCode.BAD_INPUT


def test_all_mistakes_are_shown_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(
        """\
nmae = "x"
[[models]]
backend = "hf"
model = "./nowhere"
dtype = "float8"
[[models]]
name = "nowhere"
backend = "hf"
model = "org/other"
api_key = "sk-0123456789"
[[tasks]]
name = "none.yaml"
num_fewshot = -1
seeds = 1
fewshot_as_multiturn = true
[defaults]
limit = 0
[data]
mirror = "gone"
"""
    )
    with pytest.raises(ManifestError, match="11 problems") as caught:
        load_manifest(file)
    places = [(problem.location.line, problem.location.column) for problem in caught.value.problems if problem.location]
    assert places == [(1, 1), (4, 9), (5, 9), (7, 8), (10, 1), (12, 8), (13, 15), (14, 1), (15, 1), (17, 9), (19, 10)]
