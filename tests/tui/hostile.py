"""Texts that a model, a dataset or a server may send, and that must not do anything but be read."""

from __future__ import annotations

import re
import unicodedata

CONTROLS = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
ESCAPES = (
    "\x1b[2J\x1b[H\x1b[31mred\x1b[0m",
    "\x1b[?1049l\x1b[?1000h\x1b[6n\x1b[c",
    "\x1b]0;title\x07after",
    "\x1b]52;c;cm0gLXJmIH4=\x07clipboard",
    "\x1b]8;;http://evil.example/\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]1337;File=inline=1:AAAA\x07",
    "\x1b]0;never ended",
    "\x1bP$qm\x1b\\dcs\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\",
    "\x1bc\x1b7\x1b8\x1b=\x1b>\x1b(0lqqk\x1b#8",
    "\x1b\x1b[\x1b]\x1b",
    "\x9b31mC1\x9d0;title\x9c\x90q\x9c",
)
MARKUP = (
    "[red]no[/red] [bold",
    "[/]",
    "[@click=app.quit]quit[/]",
    "[link=http://evil.example]x[/link]",
    "[$primary]x[/] \\[x] [[x]]",
)
BIDI = (
    "a\u202edcba",
    "\u2066x\u2067y\u2068z\u2069",
    "a\u200eb\u200fc\u061cd",
    "שלום עולם 123 (א)",
    "مرحبا بالعالم",
    "می\u200cخواهم",
)
COMBINING = (
    "Z" + "\u0351\u0327\u0489" * 40 + "algo",
    "\u0301first",
    "a\n\u0301b",
    "ก" + "\u0e47" * 60,
    "क्षत्रिय",
    "x\u20dd\u20e3",
)
WIDTHS = (
    "a\u200bb\u2060c\ufeffd\u00ade\u180ef\u2063g",
    "ａｂｃ 日本語 한국어",
    "👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👍🏽 🇩🇪 1️⃣ ⚠️",
    "\u200d\u200c\u200d",
    "\ufe0f\ufe0e",
    "\U000e0041\U000e0042\U000e007f",
    "\u1100\u1161\u11a8 \u3164\u2800",
)
LINES = ("a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei", "real\rfake", "50%\r\x1b[K100%", "\r\n\r\n", "a\tb\t\tc")
BROKEN = (
    "\ud800 \udfff \ud83d",
    b"\xff\xfe caf\xe9 \xc3".decode("utf-8", "surrogateescape"),
    "\x00" * 50 + "nul",
    "\uffff\ufffe",
)
PRIVATE = ("\ue000\uf8ff\U000f0000",)
LONG = ("x" * (1 << 20), "日" * (1 << 18), "\x1b[31m" * (1 << 16), "line\n" * 100_000, "\u0301" * 100_000)

SHORT = (CONTROLS, *ESCAPES, *MARKUP, *BIDI, *COMBINING, *WIDTHS, *LINES, *BROKEN, *PRIVATE)
CORPUS = (*SHORT, *LONG)

_REORDERING = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_SEQUENCE = re.compile(r"\x1b\[[0-9;]*[mHABCDGd]")
"""What Textual writes for a frame: colours and places."""


def acts(text: str, *, allowed: str = "") -> list[str]:
    """Characters of a text that a terminal, or what splits lines, would act on."""
    return [
        c
        for c in text
        if c not in allowed and (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or ord(c) in _REORDERING)
    ]


def written(output: str) -> list[str]:
    """What a terminal would act on in what an app writes for a frame, besides colours and places."""
    return acts(_SEQUENCE.sub("", output), allowed="\n")
