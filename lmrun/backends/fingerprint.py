"""Who a model is, from its files alone: content hashes of weights, configuration and tokenizer. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lmrun.backends.base import ModelIdentity
from lmrun.folders import cache_dir
from lmrun.requests import canonical_json

_CHUNK = 1 << 22
_SETTLED_NS = 2_000_000_000
"""A file younger than this may change again without its time stamp changing, so its hash is not remembered."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "*.model",
    "*.tiktoken",
)
CONFIG_FILES = ("config.json", "generation_config.json")
ADAPTER_CONFIG = "adapter_config.json"
CODE_FILES = ("*.py",)
SMALL_FILES = (*CONFIG_FILES, ADAPTER_CONFIG, *TOKENIZER_FILES, "*.jinja", "additional_chat_templates/*", *CODE_FILES)
"""Everything but the weights, as glob patterns: what is fetched of a hub model to say who it is."""


def identity(facts: Mapping[str, Any]) -> ModelIdentity:
    """The identity with these facts: its fingerprint is 32 hex digits over all of them."""
    digest = hashlib.blake2b(canonical_json(facts).encode("utf-8", "surrogatepass"), digest_size=16)
    return ModelIdentity(digest.hexdigest(), facts)


def hash_files(paths: Iterable[Path], hashes: HashCache | None = None) -> str | None:
    """One hash over the names and contents of files, or None for no files."""
    ordered = sorted(paths, key=lambda p: p.name)
    if not ordered:
        return None
    # Hashing releases the interpreter lock, and a big model has many shards.
    with ThreadPoolExecutor(max_workers=4) as pool:
        contents = list(pool.map(hashes.get if hashes else hash_file, ordered))
    if hashes:
        hashes.save()
    return hash_text(canonical_json([[p.name, h] for p, h in zip(ordered, contents, strict=True)]))


def hash_text(text: str) -> str:
    """32 hex digits over a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Files of a folder that fit one of the glob patterns."""
    return sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers would load weights from, in its order of preference; empty if there are none."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            found = [folder / name]
        elif index.is_file():
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            found = [index, *(folder / shard for shard in sorted(shards))]
        else:
            continue
        return [*found, *matching(folder, ("adapter_*",))]
    return []


def chat_template(folder: Path) -> str | None:
    """The chat template that travels with a tokenizer; several are given as one JSON text."""
    files = matching(folder, ("chat_template.jinja", "additional_chat_templates/*.jinja"))
    if files:
        return canonical_json({p.stem: p.read_text(encoding="utf-8") for p in files})
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if template is None:
        template = read_json(folder / "chat_template.json").get("chat_template")
    return template if template is None or isinstance(template, str) else canonical_json(template)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is no file."""
    if not path.is_file():
        return {}
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


class HashCache:
    """Content hashes of big files, remembered by path, size and times, so that an unchanged file is read once.

    A file that was written again in place has another time and is read again. The cache is a convenience: where it
    cannot be read or written, files are hashed each time.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or cache_dir() / "file-hashes.json"
        self._known = self._read()
        self._new: dict[str, list[Any]] = {}

    def get(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        real = path.resolve()
        state = real.stat()
        # The change time as well: some tools write a file and then put its old modification time back.
        stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        known = self._known.get(str(real))
        if known is not None and known[:3] == stamp:
            return str(known[3])
        digest = hash_file(real)
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED_NS:
            self._new[str(real)] = [*stamp, digest]
        return digest

    def save(self) -> None:
        """Remember what was hashed since the last time."""
        if not self._new:
            return
        merged = {**self._read(), **self._new}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(merged, out)
            Path(draft).replace(self._file)
        except OSError:
            return
        self._known, self._new = merged, {}

    def _read(self) -> dict[str, list[Any]]:
        try:
            return read_json(self._file)
        except (OSError, ValueError):
            return {}
