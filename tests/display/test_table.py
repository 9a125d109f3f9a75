"""Tables in a pipe can be cut into columns."""

from __future__ import annotations

import io
import re

import pytest

from lmrun.display.table import Column, Table


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


def test_plain_table_is_aligned_and_leaves_empty_columns_out() -> None:
    table = Table((Column("task"), Column("unused"), Column("n", right=True)))
    table.add("arc", "", 100)
    table.add("wikitext", "", 7)
    assert table.plain().split("\n") == ["task        n", "--------  ---", "arc       100", "wikitext    7"]


def test_cells_are_made_safe() -> None:
    table = Table((Column("x"),))
    table.add("a\x1b[31m\nb")
    assert table.plain().split("\n")[-1] == "a␛ b"


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [(30, "task version value", ""), (20, "task value", "version"), (8, "task", "version, value")],
)
def test_a_narrow_terminal_gets_fewer_columns_and_whole_words(
    width: int, shown: str, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table = Table((Column("task"), Column("version", spare=2), Column("value", spare=1)))
    table.add("hellaswag", "1.0", "0.5000")
    terminal = Terminal()
    table.show(terminal)
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).split())
    assert words.startswith(shown + " ")
    assert words.endswith(f"not shown for want of room: {left_out}") if left_out else "room" not in words
    assert ("hellaswag" in words) is (width > 8)
