"""The index of names: what counts as what, what wins, and what is remembered."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import lmrun.tasks.index_facts as facts_module
from lmrun.errors import TaskError
from lmrun.tasks import Entry, TaskCatalog
from lmrun.tasks.index import build_index
from lmrun.tasks.index_cache import FORMAT
from lmrun.tasks.yaml import Document
from tests.tasks.helpers import told, write


def entries(*folders: Path, cache: Path | None = None) -> dict[str, Entry]:
    return dict(build_index(folders, cache).entries)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are parsed while the test runs."""
    names: list[str] = []

    class Noting(Document):
        def __init__(self, path: Path) -> None:
            names.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(facts_module, "Document", Noting)
    return names


def test_kinds_in_the_order_in_which_they_are_told_apart(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.yaml": "task: a\noutput_type: multiple_choice\ndataset_path: x/y\ndataset_name: en\ntask_alias: A\n",
            "b.yaml": "group: b\ntask: [a]\ngroup_alias: B\n",
            "c.yaml": "class: !function m.C\ngroup: g\ntask: c\n",
            "template.yaml": "dataset_path: x/y\n",
            "_no_suffix_yaml": "task: unseen\n",
            "d.yml": "task: unseen\n",
            "__pycache__/e.yaml": "task: unseen\n",
        },
    )
    found = entries(tmp_path)
    assert {name: entry.kind for name, entry in found.items()} == {"a": "task", "b": "group", "c": "python"}
    a = found["a"]
    assert (a.output_type, a.dataset_path, a.dataset_name, a.alias) == ("multiple_choice", "x/y", "en", "A")
    assert a.path == tmp_path / "a.yaml"
    assert (found["b"].alias, found["b"].output_type, found["c"].output_type) == ("B", None, "generate_until")


def test_what_an_entry_is_may_stand_in_an_included_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "base": "class: !function task.C\noutput_type: loglikelihood\n",
            "x.yaml": "include: base\ntask: x\n",
            "y.yaml": "include: x.yaml\ntask: y\n",
        },
    )
    assert {n: (e.kind, e.output_type) for n, e in entries(tmp_path).items()} == {
        "x": ("python", "loglikelihood"),
        "y": ("python", "loglikelihood"),
    }


def test_what_metadata_says_and_the_folder_below_the_root(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "qa/deep/a.yaml": "task: a\nmetadata: {docs: 12, languages: [en, de], version: 1}\n",
            "qa/b.yaml": "task: b\ninclude: deep/a.yaml\n",
            "qa/c.yaml": "task: c\ninclude: deep/a.yaml\nmetadata: {languages: fr, docs: many}\n",
            "d.yaml": "task: d\nmetadata: none\n",
        },
    )
    assert {n: (e.family, e.docs, e.languages) for n, e in entries(tmp_path).items()} == {
        "a": ("qa", 12, ("en", "de")),
        "b": ("qa", 12, ("en", "de")),
        "c": ("qa", None, ("fr",)),
        "d": (None, None, ()),
    }


def test_tags_hold_their_tasks_sorted(tmp_path: Path) -> None:
    write(tmp_path, {"1.yaml": "task: z\ntag: t\n", "2.yaml": "task: a\ntag: [t, u]\n", "3.yaml": "group: g\ntag: t\n"})
    found = entries(tmp_path)
    assert (found["t"].kind, found["t"].members, found["u"].members) == ("tag", ("a", "z"), ("a",))
    assert found["t"].path is None


def test_a_tag_named_like_an_earlier_task_leaves_the_task_alone(tmp_path: Path) -> None:
    write(tmp_path, {"1.yaml": "task: same\n", "2.yaml": "task: other\ntag: same\n"})
    assert entries(tmp_path)["same"].kind == "task"


def test_of_two_files_with_one_name_the_first_is_kept_and_the_other_reported(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "task: t\n", "b.yaml": "task: t\n"})
    index = build_index([tmp_path])
    assert index.entries["t"].path == tmp_path / "a.yaml"
    (problem,) = index.problems
    assert problem.location is not None
    assert problem.location.file == tmp_path / "b.yaml"
    assert "a.yaml" in problem.message


def test_a_later_folder_wins(tmp_path: Path) -> None:
    write(tmp_path, {"one/a.yaml": "task: t\n", "one/b.yaml": "task: only_one\n", "two/a.yaml": "task: t\n"})
    found = entries(tmp_path / "one", tmp_path / "two")
    assert found["t"].path == tmp_path / "two/a.yaml"
    assert "only_one" in found


def test_a_broken_file_is_reported_and_hides_no_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.yaml": "task: [a\n",
            "b.yaml": "task: b\n",
            "c.yaml": "task: c\ninclude: nowhere\n",
            "d.yaml": "task: d\ninclude: d.yaml\n",
            "e.yaml": "task: [1]\n",
            "f.yaml": "include: a.yaml\n",
        },
    )
    index = build_index([tmp_path])
    assert list(index.entries) == ["b"]
    files = [problem.location.file.name for problem in index.problems if problem.location]
    assert files == ["a.yaml", "nowhere", "d.yaml", "e.yaml", "a.yaml"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        build_index([tmp_path / "nowhere"])
    assert "there is no folder" in told(caught.value)


class TestCache:
    """A file is parsed again only when it has changed."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "tasks"
        write(
            folder,
            {
                "base": "output_type: multiple_choice\n",
                "a.yaml": "task: a\ninclude: base\n",
                "b.yaml": "task: b\ninclude: base\n",
                "broken.yaml": "task: [\n",
            },
        )
        return folder

    def test_nothing_is_parsed_twice(self, folder: Path, tmp_path: Path, parsed: list[str]) -> None:
        first = build_index([folder], tmp_path / "cache")
        assert sorted(parsed) == ["a.yaml", "b.yaml", "base", "broken.yaml"]
        parsed.clear()
        assert build_index([folder], tmp_path / "cache") == first
        assert parsed == []

    @pytest.mark.parametrize("name", ["a.yaml", "base"])
    def test_a_changed_file_alone_is_parsed_again(
        self, folder: Path, tmp_path: Path, parsed: list[str], name: str
    ) -> None:
        build_index([folder], tmp_path / "cache")
        parsed.clear()
        with (folder / name).open("a") as file:
            file.write("output_type: loglikelihood\n")
        found = entries(folder, cache=tmp_path / "cache")
        assert parsed == [name]
        assert found["a"].output_type == "loglikelihood"

    def test_a_file_of_the_same_size_is_told_by_its_time(self, folder: Path, tmp_path: Path) -> None:
        build_index([folder], tmp_path / "cache")
        path = folder / "a.yaml"
        path.write_text(path.read_text().replace("task: a", "task: x"))
        os.utime(path, ns=(1, 1))
        assert "x" in entries(folder, cache=tmp_path / "cache")

    def test_a_file_that_is_gone_is_forgotten(self, folder: Path, tmp_path: Path) -> None:
        build_index([folder], tmp_path / "cache")
        (folder / "a.yaml").unlink()
        assert "a" not in entries(folder, cache=tmp_path / "cache")
        assert not any("a.yaml" in file.read_text() for file in (tmp_path / "cache").iterdir())

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 0}', b"\xff\xfe"])
    @pytest.mark.parametrize("kind", ["names", "facts"])
    def test_a_damaged_cache_is_rebuilt(self, folder: Path, tmp_path: Path, content: bytes, kind: str) -> None:
        cache = tmp_path / "cache"
        first = build_index([folder], cache)
        (file,) = cache.glob(f"*.{kind}.json")
        whole = file.read_bytes()
        file.write_bytes(content)
        (folder / "b.yaml").touch()  # so that the facts are asked for
        assert build_index([folder], cache) == first
        assert len(file.read_bytes()) == len(whole)

    def test_facts_of_another_shape_are_left_aside(self, folder: Path, tmp_path: Path) -> None:
        build_index([folder], tmp_path / "cache")
        (file,) = (tmp_path / "cache").glob("*.facts.json")
        file.write_text(json.dumps({"format": FORMAT, "files": {str(folder / "a.yaml"): [1]}}))
        (folder / "b.yaml").touch()
        assert set(entries(folder, cache=tmp_path / "cache")) == {"a", "b"}

    def test_an_included_file_that_appears_is_seen(self, folder: Path, tmp_path: Path) -> None:
        write(folder, {"c.yaml": "task: c\ninclude: later\n"})
        assert set(entries(folder, cache=tmp_path / "cache")) == {"a", "b"}
        write(folder, {"later": "output_type: loglikelihood\n"})
        assert entries(folder, cache=tmp_path / "cache")["c"].output_type == "loglikelihood"

    def test_without_a_place_to_write_the_index_still_works(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way of a folder")
        assert set(entries(folder, cache=tmp_path / "file" / "cache")) == {"a", "b"}

    def test_other_folders_keep_what_is_known_of_them(self, folder: Path, tmp_path: Path, parsed: list[str]) -> None:
        write(tmp_path / "more", {"m.yaml": "task: m\n"})
        for folders in ([folder], [tmp_path / "more"], [folder]):
            build_index(folders, tmp_path / "cache")
        assert sorted(parsed) == ["a.yaml", "b.yaml", "base", "broken.yaml", "m.yaml"]

    def test_the_default_place_is_the_cache_folder(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LMRUN_CACHE_DIR", str(tmp_path / "elsewhere"))
        assert TaskCatalog([folder]).names("task") == ["a", "b"]
        assert list((tmp_path / "elsewhere" / "task-index").iterdir())


def test_a_catalog_lists_names_by_kind(tmp_path: Path) -> None:
    write(
        tmp_path / "t",
        {"b.yaml": "task: b\ntag: tagged\n", "a.yaml": "class: x\ntask: a\n", "g.yaml": "group: g\ntask: [b]\n"},
    )
    catalog = TaskCatalog([tmp_path / "t"], cache_folder=tmp_path / "cache")
    kinds: Sequence[tuple[str, list[str]]] = [("task", ["a", "b"]), ("group", ["g"]), ("tag", ["tagged"])]
    assert [(kind, catalog.names(kind)) for kind, _ in kinds] == kinds  # type: ignore[arg-type]
    assert catalog.names() == ["a", "b", "g", "tagged"]
    assert [entry.name for entry in catalog.entries()] == catalog.names()
    assert catalog.problems() == ()
