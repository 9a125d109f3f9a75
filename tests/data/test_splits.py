"""Rows are what ``datasets`` would give, whichever format they come from, and are decoded only when asked for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.data import DatasetSpec, DataSource, Split
from lmrun.data.arrow import ParquetSplit
from lmrun.data.lines import JsonSplit
from lmrun.data.shape import parse_timestamp
from lmrun.errors import DataError
from tests.data.conftest import ROWS, WriteParquet


def as_datasets_gives(kind: str, file: Path, cache: Path, **options: Any) -> list[dict[str, Any]]:
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(kind, data_files=str(file), cache_dir=str(cache), **options)
    return list(loaded["train"])


def load(kind: str, *files: Path, **options: Any) -> Split:
    spec = DatasetSpec(kind, kwargs={"data_files": [str(file) for file in files], **options})
    return DataSource().load(spec, "train")


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_parquet_rows_equal_those_of_datasets(tmp_path: Path, write_parquet: WriteParquet) -> None:
    file = write_parquet(tmp_path / "a.parquet", ROWS * 5, row_group_size=4)
    split = load("parquet", file)
    assert list(split) == as_datasets_gives("parquet", file, tmp_path / "c") == ROWS * 5
    assert [split[i] for i in range(len(split))] == ROWS * 5
    assert split.columns == ("question", "choices", "answer", "meta")


def test_hub_types_of_parquet_equal_those_of_datasets(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features(
        {
            "label": ClassLabel(names=["no", "yes"]),
            "old_sequence": {"text": List(Value("string")), "score": List(Value("float32"))},
            "when": Value("timestamp[s]"),
            "raw": Value("binary"),
            "long": Value("large_string"),
        }
    )
    file = tmp_path / "typed.parquet"
    row = {
        "label": 1,
        "old_sequence": {"text": ["x"], "score": [0.1]},
        "when": "2020-01-01",
        "raw": b"\x00",
        "long": "l",
    }
    Dataset.from_list([row, dict.fromkeys(row)], features=features).to_parquet(str(file))
    assert list(load("parquet", file)) == as_datasets_gives("parquet", file, tmp_path / "c")


def test_columns_of_mixed_types_in_parquet_are_decoded_like_datasets_does(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Json, List

    file = tmp_path / "mixed.parquet"
    rows = [{"a": {"x": 1}, "b": [{"k": 1}, "t"]}, {"a": [1, "y"], "b": None}]
    Dataset.from_list(rows, features=Features({"a": Json(), "b": List(Json())})).to_parquet(str(file))
    split = load("parquet", file)
    assert list(split) == as_datasets_gives("parquet", file, tmp_path / "c") == rows
    assert split[1] == rows[1]


def test_parquet_length_and_columns_decode_no_row(
    tmp_path: Path, write_parquet: WriteParquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    file = write_parquet(tmp_path / "a.parquet", ROWS * 5, row_group_size=4)
    for method in ("read", "read_row_group", "iter_batches"):
        monkeypatch.delattr(pq.ParquetFile, method)
    split = ParquetSplit([file])
    assert (len(split), len(split.columns)) == (15, 4)


def test_parquet_shards_are_one_split(tmp_path: Path, write_parquet: WriteParquet) -> None:
    files = [write_parquet(tmp_path / f"{i}.parquet", [{"n": 2 * i}, {"n": 2 * i + 1}]) for i in range(3)]
    split = ParquetSplit(files)
    assert [row["n"] for row in split] == [split[i]["n"] for i in range(6)] == list(range(6))


def test_parquet_shards_with_other_columns_are_refused(tmp_path: Path, write_parquet: WriteParquet) -> None:
    files = [write_parquet(tmp_path / "0.parquet", [{"n": 1}]), write_parquet(tmp_path / "1.parquet", [{"m": 1}])]
    with pytest.raises(DataError, match=r"1\.parquet: columns"):
        ParquetSplit(files)


@pytest.mark.parametrize("kind", ["parquet", "json", "text", "csv"])
def test_indices_work_like_those_of_a_list(kind: str, tmp_path: Path, write_parquet: WriteParquet) -> None:
    file = tmp_path / "f"
    if kind == "parquet":
        write_parquet(file, [{"text": "x"}, {"text": "y"}])
    elif kind == "json":
        write_lines(file, [{"text": "x"}, {"text": "y"}])
    else:
        file.write_text("x\ny\n" if kind == "text" else "text\nx\ny\n")
    split = load(kind, file)
    assert (split[0], split[-1]) == ({"text": "x"}, {"text": "y"})
    for outside in (2, -3):
        with pytest.raises(IndexError):
            split[outside]


def test_changing_a_row_changes_nothing_else(tmp_path: Path, write_parquet: WriteParquet) -> None:
    lines = write_lines(tmp_path / "a.jsonl", ROWS)
    document = tmp_path / "a.json"
    document.write_text(json.dumps(ROWS))
    for split in (load("parquet", write_parquet(tmp_path / "a.parquet")), load("json", lines), load("json", document)):
        split[0]["choices"].append("changed")
        assert split[0] == ROWS[0]


JSON_CASES: dict[str, list[dict[str, Any]]] = {
    "keys that some rows lack": [{"a": 1}, {"b": "x"}],
    "ints among floats": [{"a": 1, "b": [1]}, {"a": 2.5, "b": [0.5]}],
    "numbers beyond 64 bits": [{"a": 2**70}, {"a": 1}],
    "dates": [{"a": "2020-01-01 10:00"}, {"a": "2021-06-30T23:59:59Z"}, {"a": None}],
    "dates among texts": [{"a": "2020-01-01"}, {"a": "never"}],
    "text among numbers": [{"a": "x"}, {"a": 1}],
    "objects of one shape": [{"a": {"x": 1, "y": None}}, {"a": {"y": "s", "x": 2}}],
    "objects of many shapes": [{"a": {"x": 1}}, {"a": {"y": 2.5}}],
    "lists of objects": [{"a": [{"x": 1}, {"x": 2.5}]}, {"a": []}],
    "lists of many shapes": [{"a": [{"x": 1}]}, {"a": [{"x": 2, "y": "2020-01-01"}]}],
    "booleans among numbers": [{"a": True}, {"a": 1}],
    "nothing": [{"a": None, "b": [], "c": {}}, {"a": None, "b": [], "c": {}}],
}


@pytest.mark.parametrize("rows", JSON_CASES.values(), ids=JSON_CASES)
@pytest.mark.parametrize("layout", ["lines", "gzipped lines", "document"])
def test_json_rows_equal_those_of_datasets(rows: list[dict[str, Any]], layout: str, tmp_path: Path) -> None:
    if layout == "document" and rows is JSON_CASES["numbers beyond 64 bits"]:
        pytest.skip("datasets cannot read this file")
    file = tmp_path / ("a.jsonl.gz" if layout == "gzipped lines" else "a.json")
    text = json.dumps(rows) if layout == "document" else "\n".join(json.dumps(row) for row in rows)
    file.write_bytes(gzip.compress(text.encode(), mtime=0) if layout == "gzipped lines" else text.encode())
    split = load("json", file)
    expected = as_datasets_gives("json", file, tmp_path / "c")
    assert [split[i] for i in range(len(split))] == list(split) == expected
    assert [repr(row) for row in split] == [repr({k: row[k] for k in split.columns}) for row in expected]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('\ufeff{"a": 1}\n\n  \n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{\n "a": 1,\n "b": {"c": 1}\n}', [{"a": 1, "b": {"c": 1}}]),
        ('["x", "y"]', [{"text": "x"}, {"text": "y"}]),
        ("", []),
        ('{"a": "\u2028 \x85"}\r\n{"a": "b"}\r\n', [{"a": "\u2028 \x85"}, {"a": "b"}]),
    ],
    ids=["BOM and blank lines", "one object", "list of texts", "empty", "other line breaks"],
)
def test_other_ways_to_write_json(text: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text.encode())
    assert list(load("json", file)) == rows


def test_json_rows_may_lie_in_a_field(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"version": 1, "data": [{"a": 1}]}')
    assert list(load("json", file, field="data")) == [{"a": 1}]
    with pytest.raises(DataError, match="no field 'dat'"):
        load("json", file, field="dat")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), values), max_size=4))
def test_json_keeps_every_value_up_to_its_number_type(rows: list[dict[str, Any]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        split = JsonSplit([write_lines(Path(folder) / "a.jsonl", rows)])
        columns = split.columns
        assert list(split) == [{name: row.get(name) for name in columns} for row in rows]
        assert set(columns) == {name for row in rows for name in row}


def test_timestamps_are_those_that_arrow_takes_for_timestamps() -> None:
    import io

    import pyarrow.json as reader

    days = ["2020-01-01", "2020-02-30", "2020-1-1", "0001-01-01", "20200101"]
    times = [
        "",
        "T10",
        " 10:00",
        "T10:00:00",
        " 10:00:00Z",
        "T10:00:00+01:00",
        "T10:00:00-0130",
        "T10Z",
        "Z",
        " 25:00",
        "T10+01",
    ]
    for text in [f"{day}{time}" for day in days for time in times] + ["2020-01-01T10:00:00.5", "x", ""]:
        value = reader.read_json(io.BytesIO(json.dumps({"a": text}).encode()))["a"].to_pylist()[0]
        assert parse_timestamp(text) == (None if isinstance(value, str) else value), text


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"a": 1}\n{"a": \n{"a": 2}\n', r"a\.jsonl:2:6: not JSON"),
        (b'[{"a": 1},\n {"a": ]', r"a\.jsonl:2:8: not JSON"),
        (b'{"a": 1}\n3\n', r"a\.jsonl:2: a row is int"),
        (b'[{"a": 1}, 3]', r"a\.jsonl: a row is int"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"a\.jsonl:2: not UTF-8"),
    ],
)
def test_bad_json_names_file_and_line(content: bytes, place: str, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=place) as caught:
        load("json", file)
    assert caught.value.problems[0].expected and caught.value.hint


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("parquet", "a.parquet", b"PAR1 cut"),
        ("parquet", "a.parquet", b""),
        ("json", "a.jsonl.gz", b"no gzip"),
        ("json", "a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-12]),
        ("csv", "a.csv", b'a,b\n"1,2\n'),
        ("csv", "a.csv", b""),
    ],
)
def test_an_unreadable_file_is_named(kind: str, name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=name):
        list(load(kind, file))


def test_a_damaged_row_group_is_reported_when_it_is_read(tmp_path: Path, write_parquet: WriteParquet) -> None:
    file = write_parquet(tmp_path / "a.parquet", [{"n": i, "t": str(i)} for i in range(1_000)])
    data = bytearray(file.read_bytes())
    data[4:400] = b"\xff" * 396
    file.write_bytes(data)
    split = load("parquet", file)
    for read in (lambda: list(split), lambda: split[0]):
        with pytest.raises(DataError, match=r"a\.parquet"):
            read()


def test_csv_rows_equal_those_of_datasets(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('q,n,x,flag\n"a, ""b""\nc",1,1.5,True\nä,2,,False\n,3,2,True\n', encoding="utf-8")
    split = load("csv", file)
    expected = as_datasets_gives("csv", file, tmp_path / "c")
    assert list(split) == [split[i] for i in range(3)] == expected
    assert expected[2]["q"] is None and expected[0]["n"] == 1


def test_csv_options_are_those_of_task_files(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x;1\ny;2\n")
    options: dict[str, Any] = {"header": None, "column_names": ["q", "n"], "delimiter": ";"}
    split = load("csv", file, **options)
    assert (
        list(split)
        == as_datasets_gives("csv", file, tmp_path / "c", **options)
        == [{"q": "x", "n": 1}, {"q": "y", "n": 2}]
    )
    with pytest.raises(DataError, match="column_name is not supported") as caught:
        load("csv", file, column_name=["q"])
    assert caught.value.hint == "did you mean 'column_names'?"


def test_text_rows_are_lines_as_in_datasets(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("one\r\n\ntwo \nthree\u2028ä".encode())
    expected = [{"text": "one"}, {"text": ""}, {"text": "two "}, {"text": "three\u2028ä"}]
    assert list(load("text", file)) == as_datasets_gives("text", file, tmp_path / "c") == expected


@pytest.mark.mirror
@pytest.mark.parametrize(
    "file",
    [
        "allenai/ai2_arc/ARC-Easy/test.parquet",
        "cais/mmlu/anatomy/dev.parquet",
        "truthfulqa/truthful_qa/multiple_choice/validation.parquet",
        "Rowan/hellaswag/default/validation.parquet",
        "openai/gsm8k/main/test.parquet",
        "aps/super_glue/boolq/validation.parquet",
    ],
)
def test_real_benchmarks_have_the_rows_that_datasets_gives(file: str, real_mirror: Path, tmp_path: Path) -> None:
    assert list(load("parquet", real_mirror / file)) == as_datasets_gives("parquet", real_mirror / file, tmp_path)
