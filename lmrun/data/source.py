"""Where a dataset comes from: local files, the offline mirror, or the hub."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Protocol

from lmrun.data.hub import HubDataset
from lmrun.data.local import LOCAL_BUILDERS, FileDataset, is_remote, open_data_files, open_folder
from lmrun.data.mirror import Mirror, can_mirror
from lmrun.data.split import BaseSplit, DatasetSpec
from lmrun.errors import DataError


class _Dataset(Protocol):
    @property
    def splits(self) -> tuple[str, ...]: ...
    def load(self, split: str) -> BaseSplit: ...


class DataSource:
    """Opens datasets. The first of these that has the dataset is taken:

    1. local files, where the spec is ``json``, ``csv``, ``parquet`` or ``text`` with ``data_files``;
    2. a local folder, where the spec's path is one with data files in it;
    3. the mirror;
    4. the hub, unless offline: then nothing here opens a socket.

    A config that the mirror has is taken from there alone, so its splits never come from two places.
    """

    def __init__(self, mirror: Path | None = None, offline: bool = False) -> None:
        self._mirror = None if mirror is None else Mirror(Path(mirror))
        self._offline = offline
        self._datasets: dict[str, _Dataset] = {}
        # Held weakly: shared while anyone uses them, and gone with the last task of a dataset.
        self._splits: weakref.WeakValueDictionary[tuple[str, str], BaseSplit] = weakref.WeakValueDictionary()

    def splits(self, spec: DatasetSpec) -> tuple[str, ...]:
        """Names of the splits of a dataset; a DataError where it is not to be had."""
        return self._dataset(spec).splits

    def load(self, spec: DatasetSpec, split: str) -> BaseSplit:
        """One split of a dataset; a DataError where it is missing or unreadable."""
        key = (spec.key, split)
        found = self._splits.get(key)
        if found is None:
            found = self._dataset(spec).load(split)
            self._splits[key] = found
        return found

    def is_local(self, spec: DatasetSpec) -> bool:
        """Whether the dataset is made of local files; a DataError where files that it names are missing."""
        return _open_local(spec) is not None

    def _dataset(self, spec: DatasetSpec) -> _Dataset:
        key = spec.key
        if key not in self._datasets:
            self._datasets[key] = self._find(spec)
        return self._datasets[key]

    def _find(self, spec: DatasetSpec) -> _Dataset:
        if not spec.path:
            raise DataError("no dataset is named", hint="set dataset_path in the task")
        if local := _open_local(spec):
            return local
        if self._mirror is not None and (mirrored := self._find_in_mirror(self._mirror, spec)):
            return mirrored
        if self._offline:
            raise self._not_offline(spec)
        return HubDataset(spec)

    def _find_in_mirror(self, mirror: Mirror, spec: DatasetSpec) -> _Dataset | None:
        try:
            return mirror.find(spec)
        except DataError:
            # The hub may have the config that a partial mirror lacks.
            if self._offline:
                raise
            return None

    def _not_offline(self, spec: DatasetSpec) -> DataError:
        where = [f"the local folder {str(spec.path)!r}"]
        suggestion: str | None = None
        if self._mirror is None:
            where.append("no mirror is set ([data] mirror, or --mirror)")
        else:
            where.append(f"the mirror {self._mirror.root}")
            suggestion = self._mirror.suggest(str(spec.path))
        fetch = "fetch it where there is a network: `lmrun data fetch MANIFEST --out DIR`, then run with --mirror DIR"
        if not can_mirror(spec):
            fetch = "give the path of a local folder, or a hub id"
        return DataError(
            f"dataset {spec} is not available offline; looked for it in: {'; '.join(where)}",
            hint=" ".join(part for part in (suggestion, fetch) if part),
        )


def _open_local(spec: DatasetSpec) -> FileDataset | None:
    if spec.path in LOCAL_BUILDERS and not is_remote(spec):
        return open_data_files(spec)
    folder = Path(spec.path or "").expanduser()
    return open_folder(spec, folder) if spec.path and folder.is_dir() else None
