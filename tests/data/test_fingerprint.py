"""A fingerprint stands for the rows of a split, and for nothing else."""

from __future__ import annotations

import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.data import DatasetSpec, DataSource
from lmrun.data.fingerprint import Identity, fingerprint_rows
from lmrun.data.hub import HubSplit
from tests.data.conftest import ROWS, WriteParquet


def fingerprint(kind: str, file: Path) -> str:
    return DataSource().load(DatasetSpec(kind, kwargs={"data_files": str(file)}), "train").fingerprint


def test_it_is_the_same_from_every_source(tmp_path: Path, write_parquet: WriteParquet) -> None:
    from datasets import Dataset

    text = "\n".join(json.dumps(dict(reversed(row.items()))) for row in ROWS)
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    found = {
        fingerprint("parquet", write_parquet(tmp_path / "a.parquet")),
        fingerprint("parquet", write_parquet(tmp_path / "b.parquet", row_group_size=1, compression="none")),
        fingerprint("json", tmp_path / "a.jsonl"),
        fingerprint("json", tmp_path / "a.jsonl.gz"),
        HubSplit(Dataset.from_list(ROWS)).fingerprint,
    }
    assert len(found) == 1


def test_it_is_stable_across_versions() -> None:
    assert fingerprint_rows(ROWS, None) == "c438b5b03e2f1f189fb4afc12308521a"


rows_of = st.lists(st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3)), max_size=4)


@given(rows_of, rows_of)
def test_it_differs_exactly_where_rows_differ(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
    assert (fingerprint_rows(left, None) == fingerprint_rows(right, None)) == (left == right)


def test_values_that_json_has_not_are_told_apart() -> None:
    from datetime import datetime

    rows: list[Any] = [b"a", b"b", datetime(2020, 1, 1), datetime(2021, 1, 1), float("nan"), None]
    assert len({fingerprint_rows([{"a": value}], None) for value in rows}) == len(rows)


def test_a_second_look_reads_no_rows(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    first = fingerprint_rows(ROWS, Identity((file,)))
    assert fingerprint_rows(iter([]), Identity((file,))) == first
    assert fingerprint_rows(iter([]), Identity((file,), options="others")) != first


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    first = fingerprint_rows(ROWS, Identity((file,)))
    os.utime(file, ns=(1, 1))
    assert fingerprint_rows(ROWS[:1], Identity((file,))) != first


@pytest.mark.parametrize("damage", [b"", b"not a hash", b"\xff\xfe"])
def test_a_damaged_entry_is_computed_again(damage: bytes, tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    first = fingerprint_rows(ROWS, Identity((file,)))
    (entry,) = (own_cache / "fingerprints").iterdir()
    entry.write_bytes(damage)
    assert fingerprint_rows(ROWS, Identity((file,))) == first
    assert entry.read_text() == first


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    monkeypatch.setenv("LMRUN_CACHE_DIR", str(file))
    assert fingerprint_rows(ROWS, Identity((file,))) == fingerprint_rows(ROWS, None)


def test_many_may_write_at_once(tmp_path: Path, own_cache: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: fingerprint_rows(ROWS, Identity((file,))), range(64)))
    assert found == {fingerprint_rows(ROWS, None)}
    assert len(list((own_cache / "fingerprints").iterdir())) == 1
