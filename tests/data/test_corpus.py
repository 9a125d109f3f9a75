"""Documents of a corpus: where each starts, and what is said of files that are wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmrun.data.corpus import corpus_documents, corpus_files
from lmrun.errors import DataError

TEXTS = ["one two", "", "three"]


def found(file: Path, field: str = "text") -> list[tuple[int | None, str]]:
    return [(place.line, text) for place, text in corpus_documents(file, field)]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_json_lines(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"c{suffix}"
    content = "\n\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS).encode()
    file.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    assert found(file) == [(1, "one two"), (3, ""), (5, "three")]


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_paragraphs(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"c{suffix}"
    content = b"\none\ntwo\n \n\nthree\n"
    file.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    assert found(file) == [(2, "one\ntwo\n"), (6, "three\n")]


def test_parquet(tmp_path: Path) -> None:
    file = tmp_path / "c.parquet"
    pq.write_table(pa.table({"content": [*TEXTS, None], "n": [1, 2, 3, 4]}), file)
    assert found(file, "content") == [(1, "one two"), (2, ""), (3, "three"), (4, "")]
    with pytest.raises(DataError, match="there is no 'text'"):
        found(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text"\n', r"c\.jsonl:2: not JSON"),
        ('{"text": "a"}\n{"body": "b"}\n', r"c\.jsonl:2: there is no 'text'"),
        ('{"text": 3}\n', r"c\.jsonl:1: 'text' is int"),
        ("[]\n", r"c\.jsonl:1: there is no 'text'"),
        ("\udcff", "cannot read .*c.jsonl"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        found(file)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    for name in ("c.parquet", "c.txt.gz"):
        (tmp_path / name).write_bytes(b"no such format")
        with pytest.raises(DataError, match="cannot read"):
            found(tmp_path / name)


def test_patterns_stand_for_files(tmp_path: Path) -> None:
    for name in ("a.txt", "b.jsonl", "deep/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    patterns = [str(tmp_path / "b.jsonl"), str(tmp_path / "**/*.txt"), str(tmp_path / "a.txt")]
    assert [file.name for file in corpus_files(patterns)] == ["b.jsonl", "a.txt", "c.txt"]
    with pytest.raises(DataError, match="no corpus file"):
        corpus_files([str(tmp_path / "*.csv")])
