"""Names, wildcards, paths and groups: what a pattern stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmrun.errors import TaskError
from lmrun.tasks import AggregateSpec, Group, Selection, TaskCatalog
from tests.tasks.helpers import told, write

LIBRARY = {
    "base": "dataset_path: d\ntest_split: test\ndoc_to_text: q\ndoc_to_target: a\n",
    "a.yaml": "include: base\ntask: a\ntag: [vowels, letters]\n",
    "b.yaml": "include: base\ntask: b\ntag: letters\nnum_fewshot: 2\n",
    "e.yaml": "include: base\ntask: e\ntag: [vowels, letters]\n",
    "inner.yaml": "group: inner\ntask: [b, a]\nnum_fewshot: 3\naggregate_metric_list: {metric: acc}\n",
    "outer.yaml": """
        group: outer
        group_alias: Outer
        task: [e, inner]
        target_delimiter: "-"
        aggregate_metric_list:
          - {metric: acc, filter_list: none, weight_by_size: false}
          - {metric: f1, filter_list: [x, y], aggregation: mean}
        metadata: {version: 2.0}
        """,
}


def catalog(folder: Path, **more: str) -> TaskCatalog:
    files = {f"{name}.yaml": text for name, text in more.items()}
    write(folder / "tasks", {**LIBRARY, **files})
    return TaskCatalog([folder / "tasks"], cache_folder=folder / "cache")


def select(folder: Path, pattern: str, **more: str) -> Selection:
    return catalog(folder, **more).resolve(pattern)


def names(selection: Selection) -> list[str]:
    return [config.task for config in selection.tasks]


def shots(selection: Selection) -> dict[str, int | None]:
    return {config.task: config.num_fewshot for config in selection.tasks}


def refused(folder: Path, pattern: str, **more: str) -> str:
    with pytest.raises(TaskError) as caught:
        select(folder, pattern, **more)
    return told(caught.value)


def test_a_task(tmp_path: Path) -> None:
    found = select(tmp_path, "b")
    assert (names(found), found.groups, found.names) == (["b"], (), ("b",))
    assert found.tasks[0].source == tmp_path / "tasks/b.yaml"


def test_a_tag_is_its_tasks_sorted(tmp_path: Path) -> None:
    found = select(tmp_path, "letters")
    assert (names(found), found.groups, found.names) == (["a", "b", "e"], (), ("a", "b", "e"))


def test_a_group_with_everything_beneath_it(tmp_path: Path) -> None:
    found = select(tmp_path, "outer")
    assert names(found) == ["e", "b", "a"]
    assert found.names == ("outer",)
    assert found.groups == (
        Group(
            "outer", "Outer", "2.0", ("e", "inner"), ("e", "b", "a"),
            (AggregateSpec("acc", ("none",), False), AggregateSpec("f1", ("x", "y"), True)),
        ),
        Group("inner", None, "N/A", ("b", "a"), ("b", "a"), (AggregateSpec("acc", None, True),)),
    )  # fmt: skip


def test_what_a_group_says_goes_over_its_tasks_and_an_outer_group_over_an_inner_one(tmp_path: Path) -> None:
    found = select(tmp_path, "outer")
    assert shots(found) == {"e": None, "b": 3, "a": 3}
    assert {config.target_delimiter for config in found.tasks} == {"-"}
    louder = "group: louder\ntask: [inner]\nnum_fewshot: 7\n"
    assert shots(select(tmp_path, "louder", louder=louder)) == {"b": 7, "a": 7}


def test_metadata_of_the_caller_goes_over_that_of_tasks_and_groups(tmp_path: Path) -> None:
    own = {"own": "include: base\ntask: own\ntag: letters\nmetadata: {version: 1, lengths: [4096]}\n"}
    resolver = catalog(tmp_path, **own)
    asked = {"lengths": [8], "version": 3}
    for name in ("own", "letters"):
        (config,) = [c for c in resolver.resolve(name, metadata=asked).tasks if c.task == "own"]
        assert config.metadata == {"version": 3, "lengths": [8], "config_source": str(config.source)}
    outer, inner = resolver.resolve("outer", metadata=asked).groups
    assert (outer.version, inner.version) == ("3", "3")
    (plain,) = resolver.resolve("own").tasks
    assert plain.metadata["lengths"] == [4096]
    assert plain.content_hash != config.content_hash


def test_several_names_in_one_text_are_a_list_to_be(tmp_path: Path) -> None:
    assert 'name = ["a", "b"]' in refused(tmp_path, "a,b")
    assert 'name = ["a", "b"]' in refused(tmp_path, "a b ")


@pytest.mark.parametrize(
    ("pattern", "expected", "top"),
    [
        ("[ab]", ["a", "b"], ("a", "b")),
        ("?", ["a", "b", "e"], ("a", "b", "e")),
        ("out*", ["e", "b", "a"], ("outer",)),
        ("vowel?", ["a", "e"], ("a", "e")),
    ],
)
def test_wildcards_go_over_all_names_sorted(
    tmp_path: Path, pattern: str, expected: list[str], top: tuple[str, ...]
) -> None:
    found = select(tmp_path, pattern)
    assert (names(found), found.names) == (expected, top)


def test_a_wildcard_reaches_a_task_on_two_ways(tmp_path: Path) -> None:
    """A group and its own members: the group stays the only thing on top."""
    found = select(tmp_path, "g*", group="group: g\ntask: [g1, a]\n", one="include: base\ntask: g1\n")
    assert (names(found), found.names) == (["g1", "a"], ("g",))


def test_a_task_reached_on_two_ways_that_differ_is_an_error(tmp_path: Path) -> None:
    said = refused(tmp_path, "*e*")
    assert "'a' is selected twice" in said or "'e' is selected twice" in said
    assert "num_fewshot" in said or "target_delimiter" in said


def test_aliases_are_no_difference(tmp_path: Path) -> None:
    group = "group: x_group\ntask: [{task: x_task, task_alias: X}]\n"
    assert names(select(tmp_path, "x_*", g=group, t="include: base\ntask: x_task\n")) == ["x_task"]


class TestPaths:
    def test_a_task_file(self, tmp_path: Path) -> None:
        write(tmp_path / "mine", {"t.yaml": "task: mine\ndoc_to_text: x\n"})
        found = catalog(tmp_path).resolve("mine/t.yaml", tmp_path)
        assert (names(found), found.tasks[0].source) == (["mine"], tmp_path / "mine/t.yaml")
        assert names(catalog(tmp_path).resolve(str(tmp_path / "mine/t.yaml"))) == ["mine"]

    def test_a_group_file(self, tmp_path: Path) -> None:
        write(tmp_path, {"g.yaml": "group: mine\ntask: [e, inner]\n"})
        found = catalog(tmp_path).resolve("g.yaml", tmp_path)
        assert ([g.name for g in found.groups], found.names) == (["mine", "inner"], ("mine",))

    def test_several_files(self, tmp_path: Path) -> None:
        write(tmp_path / "mine", {"2.yaml": "task: two\n", "1.yaml": "task: one\n", "x": "task: no\n"})
        write(tmp_path / "mine/deep", {"3.yaml": "task: three\n", "t.yaml": "doc_to_text: template\n"})
        assert names(catalog(tmp_path).resolve("mine/*.yaml", tmp_path)) == ["one", "two"]
        assert names(catalog(tmp_path).resolve("m*/d*/*.yaml", tmp_path)) == ["three"]
        assert names(catalog(tmp_path).resolve("mine/**/*.yaml", tmp_path)) == ["one", "two", "three"]

    def test_a_folder_is_the_files_directly_inside(self, tmp_path: Path) -> None:
        write(tmp_path / "mine", {"1.yaml": "task: one\n", "t.yaml": "doc_to_text: x\n", "d/2.yaml": "task: two\n"})
        for pattern in ("mine/", "./mine", str(tmp_path / "mine")):
            assert names(catalog(tmp_path).resolve(pattern, tmp_path)) == ["one"]
        with pytest.raises(TaskError) as caught:
            catalog(tmp_path).resolve("tasks/../cache/", tmp_path)
        assert "unknown task" in caught.value.message

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError) as caught:
            catalog(tmp_path).resolve("nowhere.yaml", tmp_path)
        assert f"there is no file {tmp_path}/nowhere.yaml" in told(caught.value)

    def test_a_file_that_is_no_task(self, tmp_path: Path) -> None:
        write(tmp_path, {"x.yaml": "doc_to_text: x\n"})
        with pytest.raises(TaskError, match="as a task"):
            catalog(tmp_path).resolve("x.yaml", tmp_path)


class TestUnknownNames:
    def test_a_guess(self, tmp_path: Path) -> None:
        assert "did you mean 'letters'?" in refused(tmp_path, "leters")

    def test_a_wildcard_without_a_match(self, tmp_path: Path) -> None:
        assert "no task, group or tag 'zz*'" in refused(tmp_path, "zz*")

    def test_a_task_whose_file_is_broken(self, tmp_path: Path) -> None:
        said = refused(tmp_path, "mine", mine="task: [mine\n")
        assert "mine.yaml:2:1: not valid YAML" in said

    def test_a_member(self, tmp_path: Path) -> None:
        said = refused(tmp_path, "g", g="group: g\ntask:\n  - inne\n")
        assert "g.yaml:2:1: its member 'inne' is no task, group or tag" in said
        assert "did you mean 'inner'?" in said

    def test_a_member_with_overrides(self, tmp_path: Path) -> None:
        assert "its member 'bb'" in refused(tmp_path, "g", g="group: g\ntask: [{task: bb, num_fewshot: 5}]\n")


class TestMembers:
    """The forms that a member of a group can have."""

    def members(self, folder: Path, text: str, **more: str) -> Selection:
        return select(folder, "g", g=f"group: g\nnum_fewshot: 1\ntask:\n{text}\n", **more)

    def test_a_single_name(self, tmp_path: Path) -> None:
        assert names(select(tmp_path, "g", g="group: g\ntask: a\n")) == ["a"]

    def test_no_members(self, tmp_path: Path) -> None:
        found = select(tmp_path, "g", g="group: g\ntask: null\n")
        assert (found.tasks, found.groups[0].children) == ((), ())

    def test_a_task_with_overrides(self, tmp_path: Path) -> None:
        found = self.members(tmp_path, "  - {task: a, num_fewshot: 5}\n  - b")
        assert shots(found) == {"a": 5, "b": 1}

    def test_a_tag_with_overrides_keeps_the_names_of_its_tasks(self, tmp_path: Path) -> None:
        assert shots(self.members(tmp_path, "  - {task: letters, num_fewshot: 5}")) == {"a": 5, "b": 5, "e": 5}

    @pytest.mark.parametrize("key", ["task", "group"])
    def test_a_group_with_overrides_keeps_the_names_of_its_tasks(self, tmp_path: Path, key: str) -> None:
        found = self.members(tmp_path, f"  - {{{key}: inner, num_fewshot: 5, group_alias: In}}")
        assert shots(found) == {"b": 5, "a": 5}
        assert [(g.name, g.alias, g.children) for g in found.groups] == [
            ("g", None, ("inner",)),
            ("inner", "In", ("b", "a")),
        ]

    def test_a_task_that_stands_in_the_group(self, tmp_path: Path) -> None:
        found = self.members(tmp_path, "  - {task: own, include: base, doc_to_text: mine}")
        (config,) = found.tasks
        assert (config.task, config.doc_to_text, config.doc_to_target) == ("g::own", "mine", "a")
        assert (config.num_fewshot, config.metadata["config_source"]) == (1, "inline")

    def test_a_group_that_stands_in_the_group(self, tmp_path: Path) -> None:
        found = self.members(
            tmp_path, "  - group: sub\n    group_alias: Sub\n    num_fewshot: 9\n    repeats: 4\n    task: [a]"
        )
        assert [(g.name, g.alias, g.children) for g in found.groups] == [
            ("g", None, ("g::sub",)),
            ("g::sub", "Sub", ("a",)),
        ]
        (config,) = found.tasks
        assert (config.num_fewshot, config.repeats) == (1, 4)

    def test_a_group_that_stands_in_the_group_may_be_called_like_a_task(self, tmp_path: Path) -> None:
        found = self.members(tmp_path, "  - {group: a, task: [a, e]}")
        assert [(g.name, g.children) for g in found.groups] == [("g", ("g::a",)), ("g::a", ("a", "e"))]

    def test_the_same_member_twice_is_one(self, tmp_path: Path) -> None:
        found = self.members(tmp_path, "  - a\n  - vowels")
        assert found.groups[0].children == ("a", "e")

    @pytest.mark.parametrize("text", ["  - {task: a, num_fewshot: 5}\n  - a", "  - inner\n  - {task: b, repeats: 3}"])
    def test_two_members_of_one_name_are_an_error(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(TaskError) as caught:
            self.members(tmp_path, text)
        assert "is selected twice" in told(caught.value)

    def test_tasks_without_a_name_are_called_by_their_data(self, tmp_path: Path) -> None:
        text = "  - {dataset_path: o/d, dataset_name: c}\n  - {dataset_path: o/d, dataset_name: c, repeats: 2}\n"
        found = self.members(tmp_path, text + "  - {dataset_path: d}")
        assert names(found) == ["g::d_c", "g::d_c#2", "g::d"]
        assert [config.repeats for config in found.tasks] == [1, 2, 1]

    def test_a_name_that_is_given_twice_inside_the_group_gets_a_number(self, tmp_path: Path) -> None:
        text = "  - {task: own, dataset_path: d, repeats: %d}\n"
        found = self.members(tmp_path, "".join(text % repeats for repeats in (1, 2, 3, 1)))
        assert names(found) == ["g::own", "g::own#2", "g::own#3"]

    @pytest.mark.parametrize("text", ["  - 3", "  - [a]", "  - {task: [a]}"])
    def test_a_member_without_a_name_is_an_error(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(TaskError) as caught:
            self.members(tmp_path, text)
        assert "names neither a task nor a group" in told(caught.value)

    def test_a_group_that_holds_itself_is_an_error(self, tmp_path: Path) -> None:
        said = refused(tmp_path, "x", x="group: x\ntask: [y]\n", y="group: y\ntask: [x]\n")
        assert "x → y → x" in said


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("[{aggregation: mean}]", "names no metric"),
        ("[{metric: acc, weight: true}]", "unknown key weight"),
        ("[{metric: acc, aggregation: median}]", "aggregation is 'median'"),
        ("acc", "names no metric"),
    ],
)
def test_wrong_aggregates(tmp_path: Path, stated: str, said: str) -> None:
    text = refused(tmp_path, "g", g=f"group: g\ntask: [a]\naggregate_metric_list: {stated}\n")
    assert said in text
    assert "g.yaml:3:1" in text


def test_an_aggregation_that_is_a_function_is_never_called(tmp_path: Path) -> None:
    text = "group: g\ntask: [a]\naggregate_metric_list: [{metric: !function u.f1, aggregation: !function u.mean}]\n"
    assert select(tmp_path, "g", g=text).groups[0].aggregates == (AggregateSpec("f1"),)


def test_a_wrong_key_in_a_group_is_placed_in_the_group(tmp_path: Path) -> None:
    said = refused(tmp_path, "g", g="group: g\ntask: [a]\nnum_fewshots: 3\n")
    assert "g.yaml:3:1: unknown key num_fewshots" in said


def test_tasks_that_need_python_are_selected_all_the_same(tmp_path: Path) -> None:
    found = select(tmp_path, "p", p="task: p\nclass: !function t.C\nrecipe: x\n")
    assert found.tasks[0].python_class is not None
