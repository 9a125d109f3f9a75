"""Manifests that include others."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.errors import Location, ManifestError
from lmrun.manifest import load_manifest

from .conftest import GOOD, Write

MODEL = '[[models]]\nname = "{0}"\nbackend = "hf"\nmodel = "org/{0}"\n'
TASK = '[[tasks]]\nname = "{0}"\n'


def test_included_entries_come_first_and_this_file_wins(write: Write) -> None:
    write(MODEL.format("a") + TASK.format("t1") + "[defaults]\nlimit = 1\nseed = 1\n", "common.toml")
    manifest = load_manifest(
        write('include = "common.toml"\n' + MODEL.format("b") + TASK.format("t2") + "[defaults]\nseed = 2\n")
    )
    assert [model.name for model in manifest.models] == ["a", "b"]
    assert [task.name for task in manifest.tasks] == ["t1", "t2"]
    assert (manifest.defaults.limit, manifest.defaults.seed) == (1, 2)


def test_a_model_takes_the_place_of_the_included_one_with_its_name(write: Write) -> None:
    write(MODEL.format("a") + 'dtype = "float16"\n' + MODEL.format("b") + TASK.format("t"), "common.toml")
    manifest = load_manifest(write('include = "common.toml"\n[[models]]\nbackend = "hf"\nmodel = "other/a"\n'))
    assert [(model.name, model.model) for model in manifest.models] == [("a", "other/a"), ("b", "org/b")]
    assert manifest.models[0].options["dtype"] == "auto", "the included entry is gone whole"


def test_two_models_of_one_name_in_one_file_stay_a_mistake(write: Write) -> None:
    write(MODEL.format("a") + TASK.format("t"), "common.toml")
    with pytest.raises(ManifestError) as caught:
        load_manifest(write('include = "common.toml"\n' + MODEL.format("a") + MODEL.format("a")))
    assert [str(problem.message)[:30] for problem in caught.value.problems] == ["two models are called `a` (the"]


def test_of_several_includes_the_later_wins(write: Write) -> None:
    write("[defaults]\nlimit = 1\nseed = 1\n", "one.toml")
    write("[defaults]\nlimit = 2\n", "two.toml")
    manifest = load_manifest(write('include = ["one.toml", "two.toml"]\n' + GOOD))
    assert (manifest.defaults.limit, manifest.defaults.seed) == (2, 1)


def test_includes_are_relative_to_their_file_and_may_nest(write: Write) -> None:
    write(TASK.format("deep"), "x/y/deep.toml")
    write('include = "y/deep.toml"\n' + TASK.format("middle"), "x/middle.toml")
    manifest = load_manifest(write('include = "x/middle.toml"\n' + GOOD))
    assert [task.name for task in manifest.tasks] == ["deep", "middle", "demo"]


def test_a_file_reached_twice_counts_once(write: Write) -> None:
    write(TASK.format("base"), "base.toml")
    write('include = "base.toml"\n', "one.toml")
    write('include = "./base.toml"\n', "two.toml")
    manifest = load_manifest(write('include = ["one.toml", "two.toml"]\n' + GOOD))
    assert [task.name for task in manifest.tasks] == ["base", "demo"]


def test_a_circle_is_shown_with_all_its_files(write: Write, tmp_path: Path) -> None:
    write('include = "b.toml"\n', "a.toml")
    write('\ninclude = "a.toml"\n', "b.toml")
    with pytest.raises(ManifestError) as caught:
        load_manifest(write('include = "a.toml"\n' + GOOD))
    (problem,) = caught.value.problems
    assert "a.toml -> b.toml -> a.toml" in problem.message
    assert problem.location == Location(tmp_path / "b.toml", 2, 11)


def test_mistakes_are_shown_in_the_file_they_are_in_the_manifest_itself_first(write: Write, tmp_path: Path) -> None:
    write('\n[run]\nchache = "x"\n', "common.toml")
    write("[broken\n", "syntax.toml")
    with pytest.raises(ManifestError) as caught:
        load_manifest(write('include = ["syntax.toml", "common.toml"]\n' + GOOD + "limits = 3\n"))
    places = [problem.location for problem in caught.value.problems]
    assert places == [
        Location(tmp_path / "m.toml", 7, 1),
        Location(tmp_path / "common.toml", 3, 1),
        Location(tmp_path / "syntax.toml", 1, 8),
    ]


def test_what_a_missing_include_may_have_held_is_not_asked_for(write: Write) -> None:
    with pytest.raises(ManifestError, match="one problem"):
        load_manifest(write('include = "gone.toml"\n'))
