"""Tables in a pipe can be cut into columns."""

from __future__ import annotations

from lmrun.display.table import Column, Table


def test_plain_table_is_aligned_and_leaves_empty_columns_out() -> None:
    table = Table((Column("task"), Column("unused"), Column("n", right=True)))
    table.add("arc", "", 100)
    table.add("wikitext", "", 7)
    assert table.plain().split("\n") == ["task        n", "--------  ---", "arc       100", "wikitext    7"]


def test_cells_are_made_safe() -> None:
    table = Table((Column("x"),))
    table.add("a\x1b[31m\nb")
    assert table.plain().split("\n")[-1] == "a␛ b"
