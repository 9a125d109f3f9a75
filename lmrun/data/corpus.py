"""The documents of a corpus, one after another: JSON lines, plain text and Parquet, never a whole file in memory."""

from __future__ import annotations

import glob
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmrun.errors import DataError, Location, Problem

SUFFIXES = (".jsonl", ".jsonl.gz", ".txt", ".txt.gz", ".parquet")


def corpus_files(patterns: Sequence[str]) -> list[Path]:
    """The files that paths and patterns (``*``, ``**``) stand for, each once; a DataError where one stands for none."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        found = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())  # noqa: PTH207 - absolute patterns
        if not found:
            raise DataError(f"there is no corpus file {pattern}", hint="paths count from the folder of the manifest")
        files.update(dict.fromkeys(found))
    return list(files)


def corpus_documents(file: Path, field: str = "text") -> Iterator[tuple[Location, str]]:
    """The documents of a file with the line that each starts in (of Parquet: its row, from 1).

    Of JSON lines and Parquet, a document is the text under ``field``; of plain text, what stands between empty lines.
    Raises :class:`~lmrun.errors.DataError` for a file that cannot be read, naming the line.
    """
    if not file.name.endswith(SUFFIXES):
        raise DataError(f"{file} is no corpus file", hint=f"known are {', '.join(SUFFIXES)}")
    try:
        if file.suffix == ".parquet":
            yield from _parquet(file, field)
        elif ".jsonl" in file.suffixes:
            yield from _json_lines(file, field)
        else:
            yield from _paragraphs(file)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {error}", hint="check that the file is complete, and UTF-8") from error


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        yield from enumerate(lines, start=1)


def _json_lines(file: Path, field: str) -> Iterator[tuple[Location, str]]:
    for number, line in _lines(file):
        if not line.strip():
            continue
        place = Location(file, number)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # also numbers and nesting that Python refuses
            raise _wrong(place, f"not JSON: {error}", "one JSON object per line") from error
        yield place, _text(row, field, place)


def _paragraphs(file: Path) -> Iterator[tuple[Location, str]]:
    start, held = 1, list[str]()
    for number, line in _lines(file):
        if line.strip():
            start = start if held else number
            held.append(line)
        elif held:
            yield Location(file, start), "".join(held)
            held = []
    if held:
        yield Location(file, start), "".join(held)


def _parquet(file: Path, field: str) -> Iterator[tuple[Location, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            if field not in opened.schema_arrow.names:
                raise _without(field, opened.schema_arrow.names, Location(file))
            number = 0
            for batch in opened.iter_batches(batch_size=256, columns=[field]):
                for row in batch.to_pylist():
                    number += 1
                    yield Location(file, number), _text(row, field, Location(file, number))
    except pa.ArrowInvalid as error:
        raise DataError(f"cannot read {file}: {error}", hint="check that the file is complete") from error


def _text(row: Any, field: str, place: Location) -> str:
    if not isinstance(row, dict) or field not in row:
        raise _without(field, row if isinstance(row, dict) else (), place)
    value = row[field]
    if value is not None and not isinstance(value, str):
        raise _wrong(place, f"{field!r} is {type(value).__name__}", "text")
    return value or ""


def _without(field: str, there: Any, place: Location) -> DataError:
    return _wrong(place, f"there is no {field!r}", f"the text of the document under it; there: {', '.join(there)}")


def _wrong(place: Location, message: str, expected: str) -> DataError:
    problem = Problem(message, place, expected=expected)
    return DataError(f"{place}: {message}", hint="[decontaminate] field names the key of the text", problems=(problem,))
