"""Task files: the YAML dialect, includes, and the places that errors name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmrun.errors import Location, TaskError
from lmrun.functions import FunctionRef
from lmrun.tasks.yaml import functions_in, load_yaml
from tests.tasks.helpers import told, write


def values(folder: Path, **files: str) -> dict[str, Any]:
    """What ``main.yaml`` among these files says."""
    write(folder, {name.replace("__", "/") + ".yaml": text for name, text in files.items()})
    return load_yaml(folder / "main.yaml").values


def test_scalars_are_yaml_1_1(tmp_path: Path) -> None:
    found = values(tmp_path, main="a: yes\nb: off\nc: 1e-3\nd: 1.0e-3\ne: 010\nf: '\\n'\ng: \"\\n\"\nh: null\n")
    assert found == {"a": True, "b": False, "c": "1e-3", "d": 0.001, "e": 8, "f": "\\n", "g": "\n", "h": None}


def test_the_last_of_duplicate_keys_wins(tmp_path: Path) -> None:
    assert values(tmp_path, main="task: a\ntask: b\n") == {"task": "b"}


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    assert values(tmp_path, main="x: &x {a: 1}\ny: {<<: *x, b: 2}\n")["y"] == {"a": 1, "b": 2}


def test_own_keys_win_over_included_ones_whole(tmp_path: Path) -> None:
    """A mapping or a list is replaced, not merged."""
    found = values(
        tmp_path,
        base="generation_kwargs: {until: [x], do_sample: false}\nmetric_list: [{metric: a}]\ntask: base\n",
        main="include: base.yaml\ngeneration_kwargs: {until: [y]}\n",
    )
    assert found == {"generation_kwargs": {"until": ["y"]}, "metric_list": [{"metric": "a"}], "task": "base"}


def test_of_several_includes_the_later_wins(tmp_path: Path) -> None:
    found = values(tmp_path, a="x: 1\ny: 1\nz: 1\n", b="y: 2\nz: 2\n", main="include: [a.yaml, b.yaml]\nz: 3\n")
    assert found == {"x": 1, "y": 2, "z": 3}


def test_includes_count_from_the_file_that_says_so(tmp_path: Path) -> None:
    found = values(
        tmp_path, deep__inner="include: ../other/base.yaml\n", other__base="x: 1\n", main="include: deep/inner.yaml\n"
    )
    assert found == {"x": 1}


def test_task_list_of_an_included_file_stays_there(tmp_path: Path) -> None:
    assert values(tmp_path, base="task_list: [a]\nx: 1\n", main="include: base.yaml\n") == {"x": 1}


def test_a_file_may_be_reached_on_two_ways(tmp_path: Path) -> None:
    found = values(
        tmp_path,
        top="x: 1\n",
        a="include: top.yaml\na: 1\n",
        b="include: top.yaml\nb: 1\n",
        main="include: [a.yaml, b.yaml]\n",
    )
    assert found == {"x": 1, "a": 1, "b": 1}


def test_a_circle_is_refused_and_shown(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        values(tmp_path, a="include: b.yaml\n", b="x: 1\ninclude: a.yaml\n", main="include: a.yaml\n")
    (problem,) = caught.value.problems
    assert "a.yaml → b.yaml → a.yaml" in problem.message
    assert problem.location == Location(tmp_path / "b.yaml", 2, 1)


def test_a_missing_include_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        values(tmp_path, main="task: x\ninclude: nowhere.yaml\n")
    assert f"{tmp_path}/main.yaml:2:1" in told(caught.value)
    assert "nowhere.yaml" in told(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("task: [a\n", 2, "not valid YAML"),
        ("task: a\n\tx: 1\n", 2, "not valid YAML"),
        ("x: !unknown y\n", 1, "not valid YAML"),
        ("- a\n- b\n", 1, "not a mapping"),
        ("", 1, "not a mapping"),
        ("include: 3\n", 1, "not a path"),
        ("task: a\n? [1, 2]\n: x\n", 2, "a key is not text"),
        ("task: a\nmetadata: 2020-13-45\n", 2, "not valid YAML"),
        ("metadata: &m [*m]\n", 1, "not valid YAML"),
        (f"task: a\nmetadata: {'[' * 2000}{']' * 2000}\n", 2, "not valid YAML"),
    ],
)
def test_broken_files_say_where(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(TaskError) as caught:
        values(tmp_path, main=text)
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.location is not None
    assert (problem.location.file, problem.location.line) == (tmp_path / "main.yaml", line)


def test_a_function_is_kept_as_a_reference_to_where_it_is_written(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sub/base": "task: a\nprocess_docs: !function utils.prepare\n",
            "main.yaml": "include: sub/base\nfilter_list:\n  - filter: [{function: !function u.F}]\n",
        },
    )
    found = load_yaml(tmp_path / "main.yaml").values
    ref = found["process_docs"]
    assert ref == FunctionRef("utils.prepare", tmp_path / "sub", Location(tmp_path / "sub/base", 2, 15))
    assert str(ref) == "!function utils.prepare"
    (nested,) = functions_in(found["filter_list"])
    assert nested.location is not None
    assert (nested.target, nested.location.line) == ("u.F", 3)
    assert not list(functions_in({"a": [1, {"b": "x"}]}))


def test_every_key_knows_the_file_and_the_line_it_was_written_in(tmp_path: Path) -> None:
    write(tmp_path, {"base": "a: 1\nb: 1\n", "main.yaml": "include: base\n\nb: 2\n"})
    places = load_yaml(tmp_path / "main.yaml").places
    assert places == {"a": Location(tmp_path / "base", 1, 1), "b": Location(tmp_path / "main.yaml", 3, 1)}


_KEYS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), max_size=5)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layers=st.lists(_KEYS, min_size=1, max_size=4), own=_KEYS, nested=st.booleans())
def test_including_is_the_same_as_updating_a_dict(
    tmp_path: Path, layers: list[dict[str, int]], own: dict[str, int], nested: bool
) -> None:
    """Side by side or one inside the other: later and closer files win."""
    files = {f"layer{i}": "".join(f"{k}: {v}\n" for k, v in layer.items()) for i, layer in enumerate(layers)}
    includes = ", ".join(files)
    if nested:
        names = list(files)
        for lower, upper in pairwise(names):
            files[upper] = f"include: {lower}\n{files[upper]}"
        includes = names[-1]
    main = f"include: [{includes}]\n" + "".join(f"{k}: {v}\n" for k, v in own.items())
    for name, text in {**files, "main.yaml": main}.items():
        (tmp_path / name).write_text(text if text.strip() else "z: 0\n")
    expected: dict[str, int] = {}
    for layer in (*layers, own):
        expected.update(layer)
    found = load_yaml(tmp_path / "main.yaml").values
    found.pop("z", None)
    assert found == expected
