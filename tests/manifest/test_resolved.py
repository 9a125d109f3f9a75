"""The resolved manifest: it loads to the same again, from anywhere, and has an identity."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.manifest import (
    Data,
    Defaults,
    Manifest,
    ModelEntry,
    Run,
    TaskSetting,
    TasksPath,
    load_manifest,
    manifest_hash,
)

from .conftest import GOOD, Load, Write

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
plain = st.from_regex(r"[a-z][a-z0-9_ \[\]='\"#]{0,11}", fullmatch=True)
scalars = st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | plain
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=6,
)
limits = st.none() | st.integers(1, 99) | st.floats(0.01, 0.99)
models = st.builds(
    ModelEntry, name=plain, backend=st.just("scripted"), model=plain, options=st.dictionaries(plain, values, max_size=3)
) | st.builds(
    ModelEntry,
    name=plain,
    backend=st.just("hf"),
    model=st.just("org/name"),
    options=st.builds(
        lambda dtype, tokens, revision, too_long, reasoning: {
            "dtype": dtype,
            "device": "cpu",
            "batch_tokens": tokens,
            "trust_remote_code": False,
            "revision": revision,
            "too_long": too_long,
            "compile": False,
            "exact": False,
            "prefix_sharing": "auto",
            "replicas": 1,
            "reasoning": reasoning,
        },
        st.sampled_from(["float32", "auto"]),
        st.just("auto") | st.integers(1, 9),
        plain,
        st.sampled_from(["left", "skip"]),
        st.sampled_from(["auto", {"start": "<think>", "end": "</think>"}]),
    ),
)
tasks = st.builds(
    TaskSetting,
    name=plain,
    num_fewshot=st.none() | st.integers(0, 30),
    apply_chat_template=st.just(True),
    fewshot_as_multiturn=st.none() | st.booleans(),
    system_instruction=st.none() | text,
    generation=st.none() | st.dictionaries(plain, scalars | st.lists(scalars, max_size=3), max_size=3),
    metadata=st.none() | st.dictionaries(plain, scalars | st.lists(scalars, max_size=3), max_size=3),
    compat=st.none() | st.just("lm-eval"),
    limit=limits,
    seed=st.integers(0, 2**32),
)
manifests = st.builds(
    Manifest,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
    path=st.just(Path("x.toml")),
    models=st.lists(models, min_size=1, max_size=3, unique_by=lambda model: model.name).map(tuple),
    tasks=st.lists(tasks, min_size=1, max_size=3, unique_by=repr).map(tuple),
    defaults=st.builds(Defaults, seed=st.integers(0, 99)),
    tasks_path=st.builds(TasksPath, trust=st.booleans()),
    data=st.builds(Data, offline=st.booleans()),
    run=st.builds(Run, runs_dir=plain.map(Path)),
)


@settings(max_examples=60, deadline=None)
@given(manifests)
def test_any_manifest_loads_again_as_it_was(manifest: Manifest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "manifest.toml"
        file.write_text(manifest.resolved_toml(), encoding="utf-8")
        again = load_manifest(file)
    assert again == manifest
    assert manifest_hash(again) == manifest_hash(manifest)


def test_it_needs_none_of_the_files_it_came_from(write: Write, tmp_path: Path) -> None:
    for folder in ("src/model", "src/mirror", "src/tasks"):
        (tmp_path / folder).mkdir(parents=True)
    write("task: t", "src/t.yaml")
    write('[data]\nmirror = "mirror"\n[defaults]\nlimit = 5\nnum_fewshot = [0, 1]\n', "src/common.toml")
    file = write(
        'include = "common.toml"\n[[models]]\nbackend = "hf"\nmodel = "model"\ndtype = ["auto", "float32"]\n'
        '[[tasks]]\nname = ["t.yaml", "demo"]\n[tasks_path]\npaths = ["tasks"]\n',
        "src/m.toml",
    )
    manifest = load_manifest(file, ["run.runs_dir=out"])
    resolved = write(manifest.resolved_toml(), "elsewhere/deep/manifest.toml")
    file.unlink()
    (tmp_path / "src/common.toml").unlink()
    again = load_manifest(resolved)
    assert again == manifest
    assert [model.name for model in again.models] == ["model[dtype=auto]", "model[dtype=float32]"]
    assert len(again.tasks) == 4


def test_its_defaults_can_still_be_changed(load: Load) -> None:
    text = GOOD + '[[tasks]]\nname = "own"\nlimit = 2\n[defaults]\nlimit = 5\n'
    again = load(load(text).resolved_toml(), "defaults.limit=7", "defaults.seed=1")
    assert [(task.limit, task.seed) for task in again.tasks] == [(7, 1), (2, 1)]


@pytest.mark.parametrize("override", ["run.runs_dir=x", "run.cache=y.db", "data.offline=true", "tasks_path.trust=true"])
def test_where_results_go_and_permissions_are_no_part_of_the_identity(load: Load, override: str) -> None:
    assert manifest_hash(load(GOOD)) == manifest_hash(load(GOOD, override))


@pytest.mark.parametrize(
    "override",
    ["name=other", "defaults.limit=3", "defaults.seed=3", "models.0.dtype=float32", "tasks.0.num_fewshot=1"],
)
def test_whatever_is_asked_is(load: Load, override: str) -> None:
    assert manifest_hash(load(GOOD)) != manifest_hash(load(GOOD, override))


def test_the_identity_does_not_depend_on_how_the_manifest_was_written(load: Load) -> None:
    written_out = GOOD.replace(
        '[[tasks]]\nname = "demo"\n', 'dtype = "auto"\nname = "demo"\n[[tasks]]\nname = "demo"\n'
    )
    expected = load(GOOD)
    assert manifest_hash(replace(expected, path=Path("other"))) == manifest_hash(load(written_out, "name=m"))
