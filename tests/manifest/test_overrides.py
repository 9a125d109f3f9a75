"""``--set a.b=value``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import GOOD, Load, Problems

TWO = '[[models]]\nname = "demo"\nbackend = "hf"\nmodel = "x"\n'
TWO += '[[models]]\nname = "pythia-1.4b"\nbackend = "hf"\nmodel = "y"\n'
TWO += '[[tasks]]\nname = "a"\n[[tasks]]\nname = "b"\n'


@pytest.mark.parametrize(
    ("override", "value"),
    [("limit=10", 10), ("limit=0.25", 0.25), ("limit = 7 ", 7), ("seed=3", 1234)],
)
def test_values_are_typed(load: Load, override: str, value: Any) -> None:
    manifest = load(GOOD, f"defaults.{override}")
    assert (manifest.defaults.limit or manifest.defaults.seed) in (value, 3)
    assert manifest.tasks[0].seed in (1234, 3)


def test_what_is_not_toml_is_text(load: Load) -> None:
    manifest = load(GOOD, "run.cache=some dir/x.db", "models.0.revision=main", "tasks.0.system_instruction=Say = no")
    assert manifest.run.cache == Path("some dir/x.db")
    assert manifest.models[0].options["revision"] == "main"
    assert manifest.tasks[0].system_instruction == "Say = no"


def test_line_breaks_smuggle_in_no_further_keys(load: Load) -> None:
    assert load(GOOD, "tasks.0.system_instruction='a'\nname = 'b'").tasks[0].system_instruction == "'a'\nname = 'b'"


@pytest.mark.parametrize(
    ("path", "devices"),
    [
        ("models.0.device", ["cpu", "auto"]),
        ("models.demo.device", ["cpu", "auto"]),
        ("models.pythia-1.4b.device", ["auto", "cpu"]),
        ('models."pythia-1.4b".device', ["auto", "cpu"]),
        ("models.*.device", ["cpu", "cpu"]),
    ],
)
def test_models_are_found_by_position_by_name_or_all(load: Load, path: str, devices: list[str]) -> None:
    assert [model.options["device"] for model in load(TWO, f"{path}=cpu").models] == devices


def test_tasks_are_found_by_name(load: Load) -> None:
    assert [task.num_fewshot for task in load(TWO, "tasks.b.num_fewshot=[1, 2]").tasks] == [None, 1, 2]


def test_tables_are_made_as_needed_and_the_last_override_wins(load: Load) -> None:
    manifest = load(GOOD, "tasks.0.generation.top_k=1", "tasks.0.generation.top_k=2", "data.offline=true")
    assert manifest.tasks[0].generation == {"top_k": 2}
    assert manifest.data.offline


def test_entries_can_be_given_whole(load: Load) -> None:
    manifest = load(GOOD, 'tasks=[{name = "other"}]')
    assert [(task.name, task.location) for task in manifest.tasks] == [("other", None)]


def test_paths_are_relative_to_the_current_directory(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "mirror").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert load(GOOD, "data.mirror=mirror").data.mirror == tmp_path / "here" / "mirror"


@pytest.mark.parametrize(
    ("override", "message", "expected", "hint"),
    [
        ("defaults.limt=3", "--set defaults.limt=3: unknown key `limt` in [defaults]", "seed, limit", "'limit'"),
        ("defaults.limit=0", "--set defaults.limit=0: `limit` cannot be 0", "above 0", None),
        (
            "models.0.revision=1.0",
            "`revision` cannot be 1.0",
            "text in quotes",
            "further quotes around it for the shell",
        ),
        ("models.0.device=gpu", '--set models.0.device=gpu: `device` cannot be "gpu"', "cuda", "cuda"),
        (
            "models.dmeo.device=cpu",
            "there is no entry 'dmeo'",
            "a name (demo, pythia-1.4b), or *",
            "did you mean 'demo'",
        ),
        ("models.2.device=cpu", "there is no entry '2'", "a position from 0 to 1", None),
        ("models.0=5", "replaces a whole entry", "models.0.dtype=float32", None),
        ("tasks.0.name.x=5", "`x` is looked for in a value that has no keys", "key=value", None),
        ("include=other.toml", "`include` is read from files only", None, "by itself"),
        ("limit", "--set limit: not a change to a manifest", "key=value, for example", None),
        ("=3", "not a change to a manifest", "key=value, for example", None),
        ("a..b=3", "not a change to a manifest", "key=value, for example", None),
        ('a"b"=3', "not a change to a manifest", "key=value, for example", None),
        ("data.mirror=gone", "gone does not exist", "an existing folder", None),
    ],
)
def test_mistakes_name_the_override(
    problems: Problems, override: str, message: str, expected: str | None, hint: str | None
) -> None:
    (problem,) = problems(TWO, override)
    assert problem.location is None
    assert problem.message.startswith(f"--set {override.partition('=')[0]}")
    assert message in problem.message
    assert (expected or "") in (problem.expected or "")
    assert (hint or "") in (problem.hint or "")
