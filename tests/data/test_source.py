"""Which place a dataset is taken from, and what an error says when it is in none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmrun.data import DatasetSpec, DataSource
from lmrun.errors import DataError
from tests.data.conftest import ROWS, WriteParquet


@pytest.fixture
def mirror(tmp_path: Path, write_parquet: WriteParquet) -> Path:
    root = tmp_path / "mirror"
    write_parquet(root / "openai/gsm8k/main/train.parquet", [{"n": 1}])
    write_parquet(root / "openai/gsm8k/main/test.parquet", [{"n": 2}])
    write_parquet(root / "openai/gsm8k/socratic/test.parquet", [{"n": 3}])
    write_parquet(root / "allenai/sciq/default/test.parquet", [{"n": 4}])
    write_parquet(root / "org/single/only/test.parquet", [{"n": 5}])
    lines = root / "org/lines/default/dev.jsonl"
    lines.parent.mkdir(parents=True)
    lines.write_text('{"n": 6}\n')
    (root / "MANIFEST.json").write_text(
        json.dumps(
            {
                "aliases": {"gsm8k": "openai/gsm8k"},
                "datasets": [{"hub_id": "allenai/sciq", "config": "default", "revision": "abc", "splits": {}}],
            }
        )
    )
    return root


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Stands in for the hub; returns what it was asked for."""
    import datasets

    asked = []

    def load_dataset(path: str, name: str | None = None, **kwargs: Any) -> Any:
        asked.append((path, name, kwargs))
        return datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS)})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def numbers(source: DataSource, path: str, name: str | None, split: str) -> list[int]:
    return [row["n"] for row in source.load(DatasetSpec(path, name), split)]


@pytest.mark.usefixtures("no_sockets")
def test_the_mirror_by_config(mirror: Path) -> None:
    source = DataSource(mirror, offline=True)
    assert numbers(source, "openai/gsm8k", "main", "test") == [2]
    assert numbers(source, "openai/gsm8k", "socratic", "test") == [3]
    assert numbers(source, "allenai/sciq", None, "test") == [4]
    assert numbers(source, "allenai/sciq", "default", "test") == [4]
    assert numbers(source, "org/single", None, "test") == [5]
    assert numbers(source, "org/lines", None, "dev") == [6]
    assert numbers(source, "gsm8k", "main", "train") == [1]
    assert source.splits(DatasetSpec("openai/gsm8k", "main")) == ("test", "train")
    assert source.load(DatasetSpec("allenai/sciq"), "test").revision == "abc"


@pytest.mark.usefixtures("no_sockets")
def test_a_named_config_is_never_replaced_by_another(mirror: Path) -> None:
    source = DataSource(mirror, offline=True)
    for path, name in (("allenai/sciq", "de"), ("org/single", "onlyy")):
        with pytest.raises(DataError, match=f"no config '{name}'"):
            source.load(DatasetSpec(path, name), "test")


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize(
    ("path", "name", "split", "message", "hint"),
    [
        ("openai/gsm8k", "main", "tset", "has no split 'tset'; its splits: test, train", "did you mean 'test'?"),
        ("openai/gsm8k", "mian", "test", "no config 'mian'; its configs: main, socratic", "did you mean 'main'?"),
        ("openai/gsm8k", None, "test", "several configs: main, socratic", "set dataset_name"),
        ("openai/gsm9k", None, "test", "not available offline", "did you mean 'openai/gsm8k'?"),
        ("sciq", None, "test", "not available offline", "did you mean 'allenai/sciq'?"),
        ("nobody/nothing", "x", "test", "'nobody/nothing' (config 'x')", "lmrun data fetch"),
        ("../mirror/openai", None, "test", "not available offline", "hub id"),
        ("", None, "test", "no dataset is named", "dataset_path"),
    ],
)
def test_what_is_missing_offline_is_explained(
    mirror: Path, path: str, name: str | None, split: str, message: str, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        DataSource(mirror, offline=True).load(DatasetSpec(path, name), split)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


@pytest.mark.usefixtures("no_sockets")
def test_offline_without_a_mirror_says_so() -> None:
    with pytest.raises(DataError, match="no mirror is set"):
        DataSource(offline=True).splits(DatasetSpec("allenai/sciq"))


def test_a_mirror_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        DataSource(tmp_path / "missing")


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_damaged_manifest_is_named(mirror: Path, content: str) -> None:
    (mirror / "MANIFEST.json").write_text(content)
    with pytest.raises(DataError, match=r"MANIFEST\.json"):
        DataSource(mirror, offline=True).splits(DatasetSpec("allenai/sciq"))


def test_a_mirror_needs_no_manifest(mirror: Path) -> None:
    (mirror / "MANIFEST.json").unlink()
    assert numbers(DataSource(mirror, offline=True), "openai/gsm8k", "main", "test") == [2]


def test_the_hub_has_what_the_mirror_has_not(mirror: Path, hub: list[Any]) -> None:
    source = DataSource(mirror)
    assert numbers(source, "openai/gsm8k", "main", "test") == [2]
    assert hub == []
    kwargs = {"trust_remote_code": True, "streaming": True, "revision": "v1"}
    assert list(source.load(DatasetSpec("org/other", None, kwargs), "test")) == ROWS
    source.splits(DatasetSpec("openai/gsm8k", "third"))
    assert hub == [("org/other", None, {"revision": "v1"}), ("openai/gsm8k", "third", {})]


def test_splits_of_one_config_never_come_from_two_places(mirror: Path, hub: list[Any]) -> None:
    with pytest.raises(DataError, match="has no split 'train'"):
        DataSource(mirror).load(DatasetSpec("allenai/sciq"), "train")
    assert hub == []


def test_a_dataset_is_asked_for_once(hub: list[Any]) -> None:
    source = DataSource()
    first = source.load(DatasetSpec("org/other"), "test")
    assert source.load(DatasetSpec("org/other"), "test") is first
    assert source.splits(DatasetSpec("org/other")) == ("test",)
    with pytest.raises(DataError, match="has no split 'tets'"):
        source.load(DatasetSpec("org/other"), "tets")
    assert len(hub) == 1


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (RuntimeError("Dataset scripts are no longer supported, but found x.py"), "only as a Python script"),
        (ValueError("BuilderConfig 'x' not found. Available: ['a']"), r"Available: \['a'\]"),
        (ConnectionError("Couldn't reach the Hugging Face Hub"), "Couldn't reach"),
    ],
)
def test_troubles_of_the_hub_are_one_clear_error(
    raised: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=message) as caught:
        DataSource().splits(DatasetSpec("org/other", "x"))
    assert "'org/other' (config 'x')" in caught.value.message
    assert caught.value.hint


def test_a_script_is_never_run(tmp_path: Path) -> None:
    script = tmp_path / "scripted" / "scripted.py"
    script.parent.mkdir()
    script.write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    with pytest.raises(DataError):
        DataSource().splits(DatasetSpec(str(script.parent), None, {"trust_remote_code": True}))
    assert not (tmp_path / "was_run").exists()


@pytest.mark.usefixtures("no_sockets")
def test_files_named_by_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"n": name}) + "\n")
    source = DataSource(offline=True)

    def names(split: str, **kwargs: Any) -> list[str]:
        return [row["n"] for row in source.load(DatasetSpec("json", None, kwargs), split)]

    assert names("train", data_files="a.jsonl") == ["a"]
    assert names("train", data_files=["b.jsonl", "a.jsonl"]) == ["b", "a"]
    assert names("test", data_files={"test": "[bc].jsonl", "dev": "a.jsonl"}) == ["b", "c"]
    monkeypatch.chdir("/")
    assert names("train", data_files="a.jsonl", data_dir=str(tmp_path)) == ["a"]
    with pytest.raises(DataError, match="no file matches"):
        names("train", data_files="z.jsonl", data_dir=str(tmp_path))
    with pytest.raises(DataError, match="no data_files"):
        names("train")


def test_remote_data_files_are_never_local(mirror: Path) -> None:
    spec = DatasetSpec("json", None, {"data_files": {"test": "hf://datasets/org/x/test.jsonl"}})
    with pytest.raises(DataError, match="not available offline"):
        DataSource(mirror, offline=True).load(spec, "test")


@pytest.mark.usefixtures("no_sockets")
def test_a_folder_of_files(tmp_path: Path, write_parquet: WriteParquet) -> None:
    source = DataSource(offline=True)
    flat, sharded, configs = tmp_path / "flat", tmp_path / "sharded", tmp_path / "configs"
    write_parquet(flat / "train.parquet", [{"n": 1}])
    (flat / "dev.jsonl").write_text('{"n": 2}\n')
    write_parquet(sharded / "data/test-00001-of-00002.parquet", [{"n": 4}])
    write_parquet(sharded / "data/test-00000-of-00002.parquet", [{"n": 3}])
    write_parquet(configs / "de/test.parquet", [{"n": 5}])
    write_parquet(configs / "en/test.parquet", [{"n": 6}])
    assert numbers(source, str(flat), None, "train") == [1]
    assert numbers(source, str(flat), None, "dev") == numbers(source, str(flat), None, "validation") == [2]
    assert numbers(source, str(sharded), None, "test") == [3, 4]
    assert numbers(source, str(configs), "en", "test") == [6]
    with pytest.raises(DataError, match="several configs: de, en"):
        source.splits(DatasetSpec(str(configs)))
    with pytest.raises(DataError, match="no config 'fr'; its configs: de, en"):
        source.splits(DatasetSpec(str(configs), "fr"))


def test_a_folder_without_data_is_not_taken_for_the_dataset(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work/openai/gsm8k").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert numbers(DataSource(mirror, offline=True), "openai/gsm8k", "main", "test") == [2]


def test_reading_a_mirror_imports_neither_datasets_nor_pandas(mirror: Path) -> None:
    code = (
        "import sys; import lmrun.data; assert 'pyarrow' not in sys.modules\n"
        "from pathlib import Path; from lmrun.data import DataSource, DatasetSpec\n"
        f"split = DataSource(Path({str(mirror)!r})).load(DatasetSpec('openai/gsm8k', 'main'), 'test')\n"
        "assert split[0] == {'n': 2} and split.fingerprint\n"
        "assert not {'datasets', 'pandas', 'torch', 'requests', 'httpx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.mirror
@pytest.mark.usefixtures("no_sockets")
def test_the_real_mirror(real_mirror: Path) -> None:
    source = DataSource(real_mirror, offline=True)
    assert len(source.load(DatasetSpec("openai/gsm8k", "main"), "test")) == 1319
    assert len(source.load(DatasetSpec("hails/mmlu_no_train", "anatomy"), "dev")) == 5
    assert source.load(DatasetSpec("allenai/sciq"), "train")[11678]["question"]
