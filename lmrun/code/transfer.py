"""Datasets on their way between lmrun and the process that runs the code of tasks.

Arrow data crosses as Arrow, Parquet files by their names; only what has no types yet crosses row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from lmrun.code.plain import NotPlainError, kind_name, plain
from lmrun.data.arrow import ParquetSplit, TableSplit
from lmrun.data.fingerprint import fingerprint_rows
from lmrun.data.split import Row, Split

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

Packed = tuple[str, Any]
"""``("parquet", files)``, ``("arrow", bytes)`` or ``("rows", list of dicts)``."""


class MadeSplit:
    """Rows that code has made. Where they are made of a split, they are identified by it: the code is hashed apart."""

    def __init__(self, rows: TableSplit | Sequence[Row], source: Split | None = None) -> None:
        self._rows = rows
        self._source = source
        self.revision = source.revision if source else None
        self.columns = (
            rows.columns if isinstance(rows, TableSplit) else tuple(dict.fromkeys(k for r in rows for k in r))
        )

    @property
    def fingerprint(self) -> str:
        """See :class:`~lmrun.data.Split`."""
        return self._source.fingerprint if self._source else fingerprint_rows(self, None)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Row:
        return deepcopy(self._rows[index])

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows) if isinstance(self._rows, TableSplit) else map(deepcopy, self._rows)


def pack_split(split: Split) -> Packed:
    """A split for :func:`dataset`."""
    if isinstance(split, ParquetSplit):
        return "parquet", [str(file) for file in split.files]
    if isinstance(split, TableSplit):
        return "arrow", _to_bytes(split.table)
    return "rows", list(split)


def dataset(packed: Packed) -> datasets.Dataset:
    """The rows as the ``datasets`` library gives them."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind, content = packed
    if kind == "rows":
        return datasets.Dataset.from_list(content)
    if kind == "arrow":
        table = _from_bytes(content)
    else:
        table = pa.concat_tables((pq.read_table(file) for file in content), promote_options="default")
    return datasets.Dataset(datasets.table.InMemoryTable(table))


def pack_docs(docs: Any) -> Packed:
    """What a function made, for :func:`unpack`. Raises :class:`NotPlainError` if it is neither a dataset nor rows."""
    import datasets

    if isinstance(docs, datasets.Dataset):
        return "arrow", _to_bytes(docs.with_format("arrow")[:])
    rows = plain(docs.to_dict("records") if hasattr(docs, "to_dict") else _listed(docs))
    if not all(isinstance(row, dict) for row in rows):
        raise NotPlainError("its value is not a dataset, and not a list of docs either")
    return "rows", rows


def _listed(docs: Any) -> list[Any]:
    if isinstance(docs, str | Mapping) or not hasattr(docs, "__iter__"):
        raise NotPlainError(f"{kind_name(docs)} is not a dataset, and not a list of docs either")
    return list(docs)


def unpack(packed: Packed, source: Split | None = None) -> MadeSplit:
    """The split that a function made, of ``source`` if it was made of one."""
    kind, content = packed
    return MadeSplit(TableSplit(_from_bytes(content)) if kind == "arrow" else content, source)


def _to_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _from_bytes(data: bytes) -> pa.Table:
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()
