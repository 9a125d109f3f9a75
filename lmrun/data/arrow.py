"""Splits over columnar data: Parquet files, decoded a batch of rows at a time, and CSV files.

Parquet is read with pyarrow alone: importing ``datasets`` for it would cost most of a second.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmrun.data.fingerprint import Identity
from lmrun.data.split import BaseSplit, Row
from lmrun.errors import DataError
from lmrun.requests import canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 512
"""Rows that are Python objects at the same time while a split is iterated."""

Decoder = Callable[[Any], Any]


class ParquetSplit(BaseSplit):
    """Rows of Parquet files, one file after the other. No file stays open; one row group at most stays in memory."""

    def __init__(self, files: Sequence[Path], revision: str | None = None) -> None:
        self.files = tuple(files)
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        self._rows = 0
        schema: pa.Schema | None = None
        for file in self.files:
            with _open_parquet(file) as opened:
                if schema is None:
                    schema = opened.schema_arrow
                elif set(opened.schema_arrow.names) != set(schema.names):
                    raise DataError(
                        f"{file}: columns {opened.schema_arrow.names} differ from those of {self.files[0]}",
                        hint=f"all files of a split need the same columns: {schema.names}",
                    )
                for group in range(opened.metadata.num_row_groups):
                    self._groups.append((file, group))
                    self._starts.append(self._rows)
                    self._rows += opened.metadata.row_group(group).num_rows
        if schema is None:
            raise DataError("a split needs at least one file")
        self._decoders = _decoders(schema)
        self._held: tuple[int, pa.Table] | None = None
        super().__init__(tuple(schema.names), Identity(self.files, "parquet"), revision)

    def save(self, target: Path) -> None:
        """See :meth:`BaseSplit.save`; several files become one."""
        if len(self.files) == 1:
            super().save(target)
            return
        import pyarrow.parquet as pq

        with _open_parquet(self.files[0]) as first:
            schema = first.schema_arrow
        with pq.ParquetWriter(target, schema) as writer:
            for position in range(len(self._groups)):
                writer.write_table(self._table(position).select(schema.names).cast(schema))

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Row]:
        for file in self.files:
            with _open_parquet(file) as opened:
                for batch in opened.iter_batches(batch_size=BATCH_ROWS):
                    yield from (_decode(row, self._decoders) for row in batch.to_pylist())

    def _row(self, index: int) -> Row:
        position = bisect.bisect_right(self._starts, index) - 1
        held = self._held
        if held is None or held[0] != position:
            held = self._held = (position, self._table(position))
        row: Row = held[1].slice(index - self._starts[position], 1).to_pylist()[0]
        return _decode(row, self._decoders)

    def _table(self, position: int) -> pa.Table:
        file, group = self._groups[position]
        with _open_parquet(file) as opened:
            return opened.read_row_group(group)


class TableSplit(BaseSplit):
    """Rows of an Arrow table."""

    def __init__(self, table: pa.Table, identity: Identity | None = None, revision: str | None = None) -> None:
        self.table = table
        self._decoders = _decoders(table.schema)
        super().__init__(tuple(str(name) for name in table.column_names), identity, revision)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Row]:
        for batch in self.table.to_batches(max_chunksize=BATCH_ROWS):
            yield from (_decode(row, self._decoders) for row in batch.to_pylist())

    def _row(self, index: int) -> Row:
        return _decode(self.table.slice(index, 1).to_pylist()[0], self._decoders)


class CsvSplit(TableSplit):
    """Rows of CSV files with the types that pandas infers, as ``datasets`` gives them."""

    def __init__(self, files: Sequence[Path], options: Mapping[str, Any]) -> None:
        import pandas as pd  # type: ignore[import-untyped]
        import pyarrow as pa

        arguments = dict(options)
        # `datasets` has names of its own for two of pandas' options.
        for ours, theirs in (("column_names", "names"), ("delimiter", "sep")):
            if ours in arguments:
                arguments[theirs] = arguments.pop(ours)
        tables = []
        for file in files:
            try:
                tables.append(pa.Table.from_pandas(pd.read_csv(file, **arguments), preserve_index=False))
            # pandas reports a bad file with ValueError and its children, a bad option with TypeError.
            except (OSError, EOFError, ValueError, TypeError, pa.ArrowException) as error:
                raise DataError(
                    f"cannot read {file} as CSV: {error}", hint="check the file and the options in dataset_kwargs"
                ) from error
        table = pa.concat_tables(tables, promote_options="permissive")
        super().__init__(table, Identity(tuple(files), f"csv {canonical_json(dict(options))}"))


class _open_parquet:  # noqa: N801 - a context manager that is read like a function
    """A Parquet file while it is read; whatever pyarrow cannot read becomes a DataError that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def __enter__(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(self._path)
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import pyarrow as pa

        self._file.close()
        if isinstance(error, OSError | pa.ArrowException):
            raise self._unreadable(error) from error

    def _unreadable(self, error: BaseException) -> DataError:
        return DataError(
            f"cannot read {self._path} as Parquet: {error}",
            hint="the file is damaged or incomplete; `lmrun data check` verifies a mirror, `lmrun data fetch` makes it",
        )


def _decode(row: Row, decoders: Mapping[str, Decoder]) -> Row:
    for name, decoder in decoders.items():
        row[name] = decoder(row[name])
    return row


def _decoders(schema: pa.Schema) -> dict[str, Decoder]:
    """Decoders of the columns that hold values of mixed types as JSON text, which ``datasets`` decodes as well."""
    found = {field.name: _decoder(field.type) for field in schema}
    return {name: decoder for name, decoder in found.items() if decoder is not None}


def _decoder(kind: pa.DataType) -> Decoder | None:
    import pyarrow as pa

    if isinstance(kind, pa.JsonType):
        return lambda value: None if value is None else json.loads(value)
    if pa.types.is_struct(kind):
        fields = {field.name: decoder for field in kind if (decoder := _decoder(field.type)) is not None}
        return (lambda value: None if value is None else _decode(value, fields)) if fields else None
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = _decoder(kind.value_type)
        return (lambda value: None if value is None else [item(one) for one in value]) if item else None
    return None
