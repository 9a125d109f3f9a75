"""The tokenizer of the scripted model: bytes, and some words that are one token each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

END = "<|endoftext|>"
FILLERS = (" so", " because", " we", " first", " then", " add", " both", " numbers", " here", " it")
TARGETS = (*(f" {n}" for n in range(50)), *(f" {letter}" for letter in "ABCDE"))
_MORE = """ The answer is are was were of to in on at and or not no yes true false that this for with you he she his her
they what which who when how many much one two three four five has have had do does did can will would make made go went
Question Answer Paris London water book day time man woman people world work year"""
SPACED = (*FILLERS, *TARGETS, *(f" {word}" for word in dict.fromkeys(_MORE.split())))
BARE = ("The", "answer", "Question", "Answer", "Yes", "No", "yes", "no")
PIECES = " ?[A-Za-z]+| ?[0-9]+| ?[^A-Za-z0-9 \\n]+| |\\n"
"""What a text is cut into first; no token reaches from one piece into the next."""


def _letters() -> list[str]:
    """For each byte the printable letter that stands for it in a byte-level vocabulary."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


LETTERS = _letters()


def _merges() -> Iterator[tuple[str, str]]:
    """Merges that grow each word letter by letter; those with a space come first, so none spoils another."""
    known = set()
    for word in (*SPACED, *BARE):
        spelled = [LETTERS[byte] for byte in word.encode()]
        for cut in range(1, len(spelled)):
            pair = ("".join(spelled[:cut]), spelled[cut])
            if pair not in known:
                known.add(pair)
                yield pair


@cache
def definition() -> dict[str, Any]:
    """What stands in ``tokenizer.json``."""
    merges = list(_merges())
    names = [*LETTERS, END, *dict.fromkeys(left + right for left, right in merges)]
    split = {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    end = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 256, "content": END, **end}],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {name: i for i, name in enumerate(names)},
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }


def save_tokenizer(folder: Path) -> Path:
    """Write ``tokenizer.json`` (and what transformers wants beside it) into a folder; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(definition(), ensure_ascii=False), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


class Tokens:
    """Text to ids and back."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(json.dumps(definition()))
        byte_of = {letter: byte for byte, letter in enumerate(LETTERS)}
        vocab = definition()["model"]["vocab"]
        self.end: int = vocab[END]
        self.bytes = [END.encode() if name == END else bytes(byte_of[c] for c in name) for name in vocab]
        """Of each token."""
        self.strings = [_shown(raw) for raw in self.bytes]
        """Of each token, as the API shows it."""
        self.names = [f"token_id:{i}" for i in range(len(self.bytes))]
        """Of each token, where a client asks for ids in place of strings."""
        self._widths = [sum(byte & 0xC0 != 0x80 for byte in raw) for raw in self.bytes]
        self._cut = re.compile(PIECES).findall
        self._known: dict[str, list[int]] = {}
        self._ids = dict(zip(self.bytes, range(len(self.bytes)), strict=True))

    def __len__(self) -> int:
        return len(self.bytes)

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        if END in text:
            return self._slowly(text)
        known, ids = self._known, list[int]()
        for piece in self._cut(text):
            ids += known.get(piece) or self._learn(piece)
        return ids

    def _learn(self, piece: str) -> list[int]:
        if len(self._known) > 100_000:
            self._known.clear()
        self._known[piece] = ids = self._slowly(piece)
        return ids

    def _slowly(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that are no text become a replacement character."""
        return b"".join([self.bytes[i] for i in ids]).decode("utf-8", "replace")

    def one(self, text: str) -> int:
        """The id of a text that is one token. Raises KeyError."""
        return self._ids[text.encode()]

    def offsets(self, ids: Sequence[int]) -> list[int]:
        """Where each token begins in the text, in characters."""
        widths = self._widths
        return [0, *accumulate([widths[i] for i in ids])][: len(ids)]


def _shown(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
