"""Datasets from the Hugging Face hub, through ``datasets``: a slow import, made here alone and only when needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmrun.data.fingerprint import Identity
from lmrun.data.lookup import missing_split
from lmrun.data.split import BaseSplit, DatasetSpec, Row
from lmrun.errors import DataError

if TYPE_CHECKING:
    import datasets

_COMMIT = re.compile(r"^hf://datasets/[^@]+@([0-9a-f]{40})/")
_MEDIA = ("Image", "Audio", "Video", "Pdf")
_DROPPED = ("trust_remote_code", "streaming", "split")
"""Dataset scripts never run here; all splits are wanted, and with their lengths."""


class HubDataset:
    """Splits of a dataset on the hub, downloaded (or found in the library's own cache) at once."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._splits = _download(spec)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(str(name) for name in self._splits)

    def load(self, split: str) -> HubSplit:
        """One split; a DataError where there is none of that name."""
        if split not in self._splits:
            raise missing_split(str(self._spec), split, self.splits)
        return HubSplit(self._splits[split])


class HubSplit(BaseSplit):
    """Rows of a ``datasets.Dataset``."""

    def __init__(self, dataset: datasets.Dataset) -> None:
        self.dataset = dataset
        files = tuple(Path(entry["filename"]) for entry in dataset.cache_files)
        identity = Identity(files, f"hub {dataset.split}") if files else None
        super().__init__(tuple(dataset.column_names), identity, _revision(dataset))
        self._undecoded = _without_media_decoding(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._undecoded)

    def _row(self, index: int) -> Row:
        row: Row = self._undecoded[index]
        return row

    @property
    def suffix(self) -> str:
        """See :attr:`BaseSplit.suffix`."""
        return ".parquet"

    def save(self, target: Path) -> None:
        """Write all rows, with the types that the hub states."""
        self.dataset.to_parquet(str(target))


def _download(spec: DatasetSpec) -> Any:
    import datasets

    # A progress bar of a library would be drawn across the live view.
    datasets.disable_progress_bars()
    kwargs = {key: value for key, value in spec.kwargs.items() if key not in _DROPPED}
    try:
        return datasets.load_dataset(spec.path, spec.name, **kwargs)
    # The boundary to a library that raises whatever its network, file and format layers raise.
    except Exception as error:
        raise _explain(spec, error) from error


def _explain(spec: DatasetSpec, error: Exception) -> DataError:
    text = str(error)
    if "scripts are no longer supported" in text or "trust_remote_code" in text:
        return DataError(
            f"dataset {spec} exists only as a Python script, which is never run",
            hint="use a copy of it in Parquet or JSON lines: point dataset_path at a converted repository or at local "
            "files, or put <split>.parquet files into a mirror",
        )
    hint = "check dataset_path and dataset_name, the network, and HF_TOKEN where the dataset is gated"
    if "BuilderConfig" in text or "Config name is missing" in text:
        hint = "set dataset_name to one of the configs that the message lists"
    return DataError(f"cannot load dataset {spec} from the hub: {type(error).__name__}: {text}", hint=hint)


def _revision(dataset: datasets.Dataset) -> str | None:
    for url in dataset.info.download_checksums or {}:
        if match := _COMMIT.match(url):
            return match[1]
    return None


def _without_media_decoding(dataset: datasets.Dataset) -> datasets.Dataset:
    for name, feature in dataset.features.items():
        if type(feature).__name__ in _MEDIA:
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset
