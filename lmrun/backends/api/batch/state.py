"""What is known of the batches at a provider, on disk: one small file per batch, gone when its answers are safe."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lmrun.errors import BackendError


@dataclass(slots=True)
class Batch:
    """Requests that are submitted together."""

    name: str
    """Ours; told to the provider where it keeps such things."""
    custom_ids: Sequence[str]
    """Of its requests: derived from their content, so that any process can tell which they are."""
    created: float
    """When its submission began."""
    id: str | None = None
    """The provider's; None as long as it is not known whether the submission has arrived."""


class Folder:
    """The batches of one model in one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BackendError(f"{path}: cannot be made: {error.strerror}") from error

    def load(self) -> list[Batch]:
        """Batches of earlier processes, oldest first. Files that no batch needs are removed."""
        batches = [self._read(path) for path in self._path.glob("*.json")]
        named = {batch.name for batch in batches}
        for path in self._path.iterdir():
            if path.suffix == ".new" or path.name.split(".")[0] not in named:
                path.unlink()
        return sorted(batches, key=lambda batch: batch.created)

    def save(self, batch: Batch) -> None:
        """Write down what is known of a batch; it is on disk when this returns."""
        path = self.state(batch.name)
        draft = path.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as file:
            values = {"id": batch.id, "created": batch.created, "custom_ids": list(batch.custom_ids)}
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def remove(self, batch: Batch) -> None:
        """Forget a batch whose answers are safe."""
        for path in (self.state(batch.name), self.requests(batch.name), self.results(batch.name)):
            path.unlink(missing_ok=True)

    def state(self, name: str) -> Path:
        """Where a batch is written down."""
        return self._path / f"{name}.json"

    def requests(self, name: str) -> Path:
        """The file that is sent to the provider."""
        return self._path / f"{name}.requests"

    def results(self, name: str) -> Path:
        """The file that came back."""
        return self._path / f"{name}.results"

    def _read(self, path: Path) -> Batch:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return Batch(path.stem, values["custom_ids"], values["created"], values["id"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(
                f"{path}: cannot be read as the record of a batch: {error}",
                hint="look for the batch at the provider; if there is none that is paid for, delete the file",
            ) from error


class Draft:
    """A file of requests that grows until it is submitted."""

    def __init__(self, folder: Folder, frame: tuple[bytes, bytes, bytes]) -> None:
        self._opening, self._separator, self._closing = frame
        self._batch = Batch(secrets.token_hex(8), [], 0.0)
        self._file: IO[bytes] | None = None
        self._folder = folder
        self.size = 0
        """Bytes, as far as written."""

    def __len__(self) -> int:
        return len(self._batch.custom_ids)

    def add(self, custom_id: str, line: bytes) -> None:
        """Put a request into the file."""
        if self._file is None:
            self._file = self._folder.requests(self._batch.name).open("wb")
        self.size += self._file.write((self._separator if len(self) else self._opening) + line)
        assert isinstance(self._batch.custom_ids, list)
        self._batch.custom_ids.append(custom_id)

    def finish(self) -> Batch:
        """End the file; its batch can now be submitted."""
        assert self._file is not None
        self._file.write(self._closing)
        self.close()
        self._batch.created = time.time()
        return self._batch

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()


def read_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a file with one per line; what stands around them is passed over."""
    with path.open("rb") as file:
        for line in file:
            text = line.strip().rstrip(b",")
            if text.startswith(b"{") and text.endswith(b"}"):
                yield json.loads(text)
