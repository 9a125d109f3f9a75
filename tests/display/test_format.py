"""Numbers read well, and no text from outside can act on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.display.format import brief, dollars, duration, number, safe, size, spending


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (10.4, "10s"), (59.4, "59s"), (75, "1m15s"), (3599.6, "1h00m"), (7380, "2h03m")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_number() -> None:
    assert [number(v) for v in (0.51999, 12, "N/A", None, float("nan"))] == ["0.5200", "12.0000", "N/A", "None", "nan"]


def test_size() -> None:
    assert [size(v) for v in (999, 1_500, 2_500_000, 3_000_000_000)] == ["999 B", "1.5 kB", "2.5 MB", "3.0 GB"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext ✓ 日本", "plain\n\ttext ✓ 日本"),
        ("\x1b[31mred\x1b[0m", "␛red␛"),
        ("\x1b]0;title\x07after", "␛after"),
        ("\x1b]8;;http://x\x1b\\link", "␛link"),
        ("bell\x07 nul\x00 del\x7f", "bell␇ nul␀ del␡"),
        ("a\u202eb", "a�b"),
        ("c1 \x9b31m", "c1 �31m"),
        ("lone \ud83d", "lone �"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(st.text())
def test_safe_leaves_nothing_that_a_terminal_acts_on(text: str) -> None:
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") for c in safe(text))
    safe(text).encode()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_safe_keeps_ordinary_text(text: str) -> None:
    assert safe(text) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0"), (9_999, "9,999"), (10_000, "10.0k"), (999_960, "1.0M"), (3_200_000, "3.2M"), (2 * 10**9, "2.0G")],
)
def test_brief(n: int, text: str) -> None:
    assert brief(n) == text


@pytest.mark.parametrize(("amount", "text"), [(0.0, "0"), (0.00123, "0.0012"), (1.239, "1.24"), (1234.5, "1,234.50")])
def test_dollars(amount: float, text: str) -> None:
    assert dollars(amount) == text


def test_spending() -> None:
    assert spending(1.24, 3_200_000) == "1.24 USD, 3.2M tokens"
    assert spending(0.0, 12) == "12 tokens"
