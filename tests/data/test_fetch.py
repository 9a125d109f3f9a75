"""Making a mirror, and finding out what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmrun.data import DatasetSpec, DataSource
from lmrun.data.fetch import check, fetch
from lmrun.errors import DataError
from tests.data.conftest import ROWS, WriteParquet

A, B = DatasetSpec("org/a", "main"), DatasetSpec("org/b")


@pytest.fixture
def source_mirror(tmp_path: Path, write_parquet: WriteParquet) -> Path:
    root = tmp_path / "source"
    write_parquet(root / "org/a/main/train.parquet")
    write_parquet(root / "org/a/main/test.parquet", ROWS[:2])
    (root / "org/b/default").mkdir(parents=True)
    (root / "org/b/default/test.jsonl").write_text('{"n": 1}\n')
    return root


@pytest.mark.usefixtures("no_sockets")
def test_a_mirror_of_a_mirror_holds_the_same_rows_and_is_sound(source_mirror: Path, tmp_path: Path) -> None:
    source, out = DataSource(source_mirror, offline=True), tmp_path / "out"
    fetched = fetch([(A, ["train", "test"]), (B, ["test"])], source, out)
    assert [(one.file, one.rows) for one in fetched] == [
        ("org/a/main/train.parquet", 3),
        ("org/a/main/test.parquet", 2),
        ("org/b/default/test.jsonl", 1),
    ]
    assert check(out) == []
    copy = DataSource(out, offline=True)
    for spec, split in ((A, "train"), (A, "test"), (B, "test")):
        assert list(copy.load(spec, split)) == list(source.load(spec, split))
        assert copy.load(spec, split).fingerprint == source.load(spec, split).fingerprint


def test_fetching_more_keeps_what_is_there(source_mirror: Path, tmp_path: Path) -> None:
    source, out = DataSource(source_mirror, offline=True), tmp_path / "out"
    fetch([(A, ["train"])], source, out)
    (out / "MANIFEST.json").write_text(
        json.dumps({**json.loads((out / "MANIFEST.json").read_text()), "aliases": {"x": "org/a"}})
    )
    fetch([(A, ["test"]), (B, ["test"])], source, out)
    manifest = json.loads((out / "MANIFEST.json").read_text())
    assert {e["hub_id"]: sorted(e["splits"]) for e in manifest["datasets"]} == {
        "org/a": ["test", "train"],
        "org/b": ["test"],
    }
    assert manifest["aliases"] == {"x": "org/a"}
    assert check(out) == []


def test_a_mirror_may_be_fetched_onto_itself(source_mirror: Path) -> None:
    fetch([(A, ["train", "test"]), (B, ["test"])], DataSource(source_mirror, offline=True), source_mirror)
    assert check(source_mirror) == []


def test_what_cannot_be_had_is_reported_after_the_rest_is_written(source_mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = [(DatasetSpec("org/none"), ["test"]), (A, ["test", "dev"]), (B, ["test"])]
    with pytest.raises(DataError, match="2 of 4 splits") as caught:
        fetch(wanted, DataSource(source_mirror, offline=True), out)
    assert ["org/none" in p.message or "'dev'" in p.message for p in caught.value.problems] == [True, True]
    assert check(out) == []
    assert len(DataSource(out, offline=True).load(B, "test")) == 1


def test_local_files_are_passed_over_unless_they_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "folder/train.jsonl"
    file.parent.mkdir()
    file.write_text('{"n": 1}\n')
    files, folder = DatasetSpec("json", None, {"data_files": str(file)}), DatasetSpec(str(file.parent))
    assert fetch([(files, ["train"]), (folder, ["train"])], DataSource(), tmp_path / "out") == ()
    file.unlink()
    with pytest.raises(DataError, match="1 of 1 splits"):
        fetch([(files, ["train"])], DataSource(), tmp_path / "out")


def test_shards_become_one_file(tmp_path: Path, write_parquet: WriteParquet) -> None:
    root, out = tmp_path / "source", tmp_path / "out"
    for i in range(2):
        write_parquet(root / f"org/c/default/test-0000{i}-of-00002.parquet", [{"n": i, "m": None}])
    fetch([(DatasetSpec("org/c"), ["test"])], DataSource(root, offline=True), out)
    assert [p.name for p in (out / "org/c/default").iterdir()] == ["test.parquet"]
    assert [row["n"] for row in DataSource(out, offline=True).load(DatasetSpec("org/c"), "test")] == [0, 1]


def hub_of(monkeypatch: pytest.MonkeyPatch, rows: Any, **info: Any) -> None:
    import datasets

    dataset = datasets.Dataset.from_list(rows)
    for name, value in info.items():
        setattr(dataset.info, name, value)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_a, **_k: datasets.DatasetDict({"test": dataset}))


def test_from_the_hub_with_the_revision_that_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    hub_of(monkeypatch, ROWS, download_checksums={f"hf://datasets/org/a@{commit}/main/test.parquet": {}})
    (one,) = fetch([(A, ["test"])], DataSource(), tmp_path / "out")
    assert one.revision == commit
    copy = DataSource(tmp_path / "out", offline=True).load(A, "test")
    assert (list(copy), copy.revision) == (ROWS, commit)


def test_a_choice_of_files_has_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    specs = [DatasetSpec("org/a", None, {"data_files": {"test": f"{subject}.csv"}}) for subject in ("law", "art")]
    specs.append(DatasetSpec("json", None, {"data_files": {"test": "hf://datasets/org/x/test.jsonl"}}))
    for n, spec in enumerate(specs):
        hub_of(monkeypatch, [{"n": n}])
        fetch([(spec, ["test"])], DataSource(), out)
    source = DataSource(out, offline=True)
    assert [source.load(spec, "test")[0]["n"] for spec in specs] == [0, 1, 2]
    assert check(out) == []


def test_a_path_out_of_the_mirror_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_of(monkeypatch, ROWS)
    for spec in (
        DatasetSpec("../../x"),
        DatasetSpec("org/a", ".."),
        DatasetSpec("/abs/x"),
        DatasetSpec("org/a", "b/c"),
    ):
        with pytest.raises(DataError):
            fetch([(spec, ["test"])], DataSource(), tmp_path / "deep/out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["MANIFEST.json", "deep", "out"]


def test_check_finds_every_kind_of_damage(source_mirror: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fetch([(A, ["train", "test"]), (B, ["test"])], DataSource(source_mirror, offline=True), out)
    (out / "org/a/main/train.parquet").unlink()
    data = bytearray((out / "org/a/main/test.parquet").read_bytes())
    data[10] ^= 1
    (out / "org/a/main/test.parquet").write_bytes(data)
    manifest = json.loads((out / "MANIFEST.json").read_text())
    manifest["datasets"][1]["splits"]["test"]["rows"] = 7
    (out / "MANIFEST.json").write_text(json.dumps(manifest))
    (out / "org/b/default/dev.jsonl").write_text("")
    problems = [str(problem) for problem in check(out)]
    for expected in ("the file is missing", "sha256 is", "1 rows", "not in MANIFEST.json"):
        assert sum(expected in problem for problem in problems) == 1
    assert len(problems) == 4


def test_a_mirror_without_manifest_is_not_sound(source_mirror: Path) -> None:
    assert [problem.message for problem in check(source_mirror)] == ["no MANIFEST.json"]


@pytest.mark.mirror
def test_the_real_mirror_is_sound(real_mirror: Path) -> None:
    assert check(real_mirror) == []
