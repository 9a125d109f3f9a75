"""Whatever stands in a manifest: it loads, or what is wrong with it is said. Nothing else comes out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.errors import ManifestError
from lmrun.manifest import load_manifest
from lmrun.manifest.schema import SECTIONS, TAGS

KEYS = sorted({key for section in SECTIONS.values() for key in section.model_fields} | TAGS | {"", "a.b", "token"})
TEXTS = ["", "hf", "scripted", "bundled:demo", "auto", "cpu", "./x", "x.yaml", "a/b", "\n", "é", "*", *TAGS]

keys = st.sampled_from(KEYS)
scalars = (
    st.sampled_from(TEXTS)
    | st.booleans()
    | st.integers(-2, 5)
    | st.floats(-1, 2)
    | st.sampled_from([float("inf"), float("nan"), 10**30])
    | st.datetimes()
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=10
)
models = st.lists(st.dictionaries(keys, anything, max_size=3).map(lambda more: {"backend": "hf", "model": "m", **more}))
tasks = st.lists(st.dictionaries(keys, anything, max_size=3).map(lambda more: {"name": "t", **more}), max_size=3)
documents = st.fixed_dictionaries({}, optional={"models": models | anything, "tasks": tasks | anything}).flatmap(
    lambda document: st.dictionaries(keys, anything, max_size=3).map(lambda more: {**more, **document})
)
overrides = st.lists(
    st.tuples(st.lists(keys | st.sampled_from(["0", "*", "m", "t"]), min_size=1, max_size=4), scalars).map(
        lambda change: f"{'.'.join(change[0])}={change[1]}"
    ),
    max_size=2,
)


@settings(max_examples=150, deadline=None)
@given(documents, overrides)
def test_only_a_manifest_or_a_list_of_problems_comes_out(document: dict[str, Any], changes: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.toml"
        file.write_text(tomlkit.dumps(document), encoding="utf-8")
        try:
            load_manifest(file, changes)
        except ManifestError as error:
            assert error.problems
            for problem in error.problems:
                assert problem.location is not None or problem.message.startswith("--set ")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="[]{}='\"#\n\\ ,.a1-é\x00", max_size=40))
def test_nor_does_anything_else_come_out_of_any_text(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.toml"
        file.write_text(text, encoding="utf-8")
        try:
            load_manifest(file)
        except ManifestError as error:
            assert error.problems
