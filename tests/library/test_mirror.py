"""The mirror of invented rows is one that lmrun reads."""

from __future__ import annotations

import json
from pathlib import Path

from lmrun.data import DatasetSpec, DataSource
from tests.library.mirror import make_mirror

ROWS: list[dict[str, object]] = [
    {"question": "Is water wet?", "choices": ["no", "yes"]},
    {"question": "And ice?", "choices": [], "extra": 1},
]


def write(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, ROWS)))


def test_every_kind_of_spec_is_found(tmp_path: Path) -> None:
    for name in ("org__data/first", "org__data/_any", "org__single/default", "json__sums/_any", "bare/_any"):
        write(tmp_path / "fixtures" / name)
    url = {"data_files": {"test": "hf://datasets/org/sums/data/two.jsonl"}}
    specs = [
        *(DatasetSpec("org/data", config) for config in ("first", "second", None)),
        DatasetSpec("org/single"),
        DatasetSpec("json", None, url),
        DatasetSpec("bare", "config"),
        DatasetSpec("org/data", "second", {"data_files": {"test": "some/file.csv"}}),
    ]
    missing = [DatasetSpec("org/missing"), DatasetSpec("org/single", "other"), DatasetSpec("csv", None, url)]
    assert make_mirror([*specs, *missing], tmp_path / "mirror", tmp_path / "fixtures") == specs
    data = DataSource(tmp_path / "mirror", offline=True)
    for spec in specs:
        split = data.load(spec, "test")
        assert list(split) == [{**ROWS[0], "extra": None}, ROWS[1]]
