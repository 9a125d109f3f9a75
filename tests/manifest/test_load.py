"""What a manifest becomes: values, defaults, paths, and the files it may be written in."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from lmrun.errors import Location, ManifestError
from lmrun.manifest import load_manifest

from .conftest import GOOD, Load, Problems, Write

CONTRACT = """\
name = "leaderboard"
include = ["common.toml"]                  # merged first; this file wins

[defaults]
seed = 1234
limit = 100

[[models]]
name = "pythia-160m"
backend = "hf"
model = "EleutherAI/pythia-160m"
revision = "main"
dtype = "bfloat16"
device = "auto"
batch_tokens = "auto"

[[tasks]]
name = "arc_challenge"
num_fewshot = [0, 25]

[[tasks]]
name = "mmlu*"
num_fewshot = 5
apply_chat_template = true
fewshot_as_multiturn = true
system_instruction = "Answer."
generation = { max_gen_toks = 512, temperature = 0.0 }

[tasks_path]
paths = ["my_tasks/"]
trust = false

[data]
mirror = "mirror/"
offline = false

[run]
runs_dir = "runs"
cache = "runs/cache.db"
"""


def test_the_manifest_of_the_contract(write: Write, tmp_path: Path) -> None:
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "mirror").mkdir()
    write("", "common.toml")
    file = write(CONTRACT)
    manifest = load_manifest(file)

    assert manifest.name == "leaderboard"
    assert manifest.path == file
    assert (manifest.defaults.seed, manifest.defaults.limit) == (1234, 100)
    (model,) = manifest.models
    assert (model.name, model.backend, model.model) == ("pythia-160m", "hf", "EleutherAI/pythia-160m")
    assert model.options == {
        "revision": "main",
        "dtype": "bfloat16",
        "device": "auto",
        "batch_tokens": "auto",
        "trust_remote_code": False,
        "too_long": "left",
        "compile": False,
        "exact": False,
        "prefix_sharing": "auto",
        "replicas": 1,
    }
    assert [(task.name, task.num_fewshot) for task in manifest.tasks] == [
        ("arc_challenge", 0),
        ("arc_challenge", 25),
        ("mmlu*", 5),
    ]
    mmlu = manifest.tasks[-1]
    assert mmlu.apply_chat_template and mmlu.fewshot_as_multiturn
    assert mmlu.system_instruction == "Answer."
    assert mmlu.generation == {"max_gen_toks": 512, "temperature": 0.0}
    assert (mmlu.limit, mmlu.seed) == (100, 1234)
    assert mmlu.location == Location(file, 21, 1)
    assert manifest.tasks_path.paths == (tmp_path / "my_tasks",)
    assert manifest.data.mirror == tmp_path / "mirror"
    assert (manifest.run.runs_dir, manifest.run.cache) == (Path("runs"), Path("runs/cache.db"))


def test_what_is_left_out_has_its_default(load: Load) -> None:
    manifest = load(GOOD)
    assert manifest.name == "m"
    (task,) = manifest.tasks
    assert (task.num_fewshot, task.limit, task.seed, task.generation) == (None, None, 1234, None)
    assert (task.apply_chat_template, task.fewshot_as_multiturn, task.system_instruction) == (False, None, None)
    assert manifest.models[0].name == "demo"
    assert not manifest.tasks_path.paths and not manifest.tasks_path.trust
    assert manifest.data.mirror is None and not manifest.data.offline


def test_defaults_hold_for_tasks_that_say_nothing_else(load: Load) -> None:
    manifest = load(
        GOOD + 'num_fewshot = 1\nlimit = 0.5\ngeneration.until = ["a"]\n[[tasks]]\nname = "other"\nseed = 7\n'
        "[defaults]\nnum_fewshot = 3\nlimit = 9\nseed = 8\ngeneration = { until = 'b', top_k = 4 }\n"
    )
    first, second = manifest.tasks
    assert (first.num_fewshot, first.limit, first.seed) == (1, 0.5, 8)
    assert (second.num_fewshot, second.limit, second.seed) == (3, 9, 7)
    assert first.generation == {"until": ["a"], "top_k": 4}
    assert second.generation == {"until": "b", "top_k": 4}


@pytest.mark.parametrize(
    ("stem", "name"), [("a b (1)", "a-b-1"), ("x.y", "x.y"), ("..", "manifest"), ("größe", "gr-e")]
)
def test_the_name_of_the_file_is_made_fit_for_a_folder(write: Write, stem: str, name: str) -> None:
    manifest = load_manifest(write(GOOD, f"{stem}.toml"))
    assert manifest.name.strip("-") == name


@pytest.mark.parametrize("text", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n")])
def test_files_from_windows_editors_load(write: Write, tmp_path: Path, text: str) -> None:
    file = tmp_path / "w.toml"
    file.write_bytes(text.encode())
    assert load_manifest(file).tasks[0].location == Location(file, 4, 1)


def test_columns_count_characters_and_lines_survive_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_bytes(GOOD.replace("\n", "\r\n").encode() + 'generation = { until = "é", x = {} }\r\n'.encode())
    with pytest.raises(ManifestError) as caught:
        load_manifest(file)
    assert caught.value.problems[0].location == Location(file, 6, 33)


def test_a_file_that_is_not_there(write: Write, tmp_path: Path) -> None:
    write(GOOD, "quickstart.toml")
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "quickstrat.toml")
    (problem,) = caught.value.problems
    assert problem.message == "no such file"
    assert problem.hint == "did you mean 'quickstart.toml'?"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 5000 + b"]" * 5000])
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.toml"
    file.write_bytes(content)
    with pytest.raises(ManifestError, match="one problem"):
        load_manifest(file)


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    assert "cannot be read" in caught.value.problems[0].message


def test_paths_are_relative_to_the_file_they_are_written_in(write: Write, tmp_path: Path) -> None:
    for folder in ("sub/models/m", "sub/mirror", "sub/tasks"):
        (tmp_path / folder).mkdir(parents=True)
    write("task: t", "sub/tasks/t.yaml")
    write("{{ x }}", "sub/chat.jinja")
    write(
        '[data]\nmirror = "mirror"\n[tasks_path]\npaths = ["tasks", "../sub/tasks/"]\n'
        '[[tasks]]\nname = "tasks/t.yaml"\n'
        '[[models]]\nbackend = "hf"\nmodel = "models/m"\ntokenizer = "models/m"\nchat_template = "chat.jinja"\n',
        "sub/common.toml",
    )
    manifest = load_manifest(write('include = "sub/common.toml"'))
    sub = tmp_path / "sub"
    assert manifest.data.mirror == sub / "mirror"
    assert manifest.tasks_path.paths == (sub / "tasks", sub / "tasks")
    assert manifest.tasks[0].name == str(sub / "tasks/t.yaml")
    (model,) = manifest.models
    assert (model.name, model.model) == ("m", str(sub / "models/m"))
    assert model.options["tokenizer"] == str(sub / "models/m")
    assert model.options["chat_template"] == str(sub / "chat.jinja")


@pytest.mark.parametrize("model", ["EleutherAI/pythia-160m", "gpt2", "bundled:demo"])
def test_what_is_no_folder_is_a_hub_id(load: Load, model: str) -> None:
    assert load(GOOD.replace("bundled:demo", model)).models[0].model == model


def test_a_path_that_would_be_right_elsewhere_is_pointed_out(
    problems: Problems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "mirror").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    (problem,) = problems(GOOD + '[data]\nmirror = "mirror"\n')
    assert problem.hint == f"paths are relative to the folder of this file; {tmp_path / 'here' / 'mirror'} exists"


def test_options_of_a_plug_in_are_free_and_no_axes(load: Load) -> None:
    text = '[[models]]\nbackend = "scripted"\nmodel = "x"\noptions = { replies = ["a", "b"], deep = { n = [1] } }\n'
    (model,) = load(text + '[[tasks]]\nname = "demo"').models
    assert model.options == {"replies": ["a", "b"], "deep": {"n": [1]}}


def test_a_manifest_is_frozen_and_can_go_to_another_process(load: Load) -> None:
    manifest = load(GOOD)
    assert pickle.loads(pickle.dumps(manifest)) == manifest
    with pytest.raises(FrozenInstanceError):
        manifest.name = "other"  # type: ignore[misc]


def test_a_task_name_may_be_a_folder_or_a_pattern_of_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "arc").mkdir()
    manifest = load_manifest(write(GOOD.replace('"demo"', '["tasks/", "tasks/*.yaml", "arc"]')))
    assert [t.name for t in manifest.tasks] == [str(tmp_path / "tasks"), str(tmp_path / "tasks/*.yaml"), "arc"]


def test_metadata_of_a_task_goes_over_that_of_the_defaults(load: Load) -> None:
    text = "[defaults]\nmetadata = { tokenizer = 'a', lengths = [4096] }\ncompat = 'lm-eval'\n" + GOOD
    (task,) = load(text + "metadata = { lengths = [8] }\n").tasks
    assert task.metadata == {"tokenizer": "a", "lengths": [8]}
    assert task.compat == "lm-eval"
