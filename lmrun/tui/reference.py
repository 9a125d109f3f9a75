"""The keys in ``docs/tui.md``, from the table of actions: ``python -m lmrun.tui.reference docs/tui.md``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from lmrun.tui.actions import APP, PAGES, TABLE, Action, identifier
from lmrun.tui.pages.help import key_names
from lmrun.tui.widgets.frame import TABS

_TITLES = {"app": "Everywhere", "table": "In lists", **{page: TABS[page] for page in PAGES}}
_PART = re.compile(r"(<!-- keys -->\n).*(<!-- end of keys -->)", re.DOTALL)


def _tables() -> Iterator[str]:
    actions: dict[str, tuple[Action, ...]] = {"app": APP, "table": TABLE, **PAGES}
    for page, table in actions.items():
        yield f"### {_TITLES[page]}\n"
        yield "| key | what it does | name in `[keys]` |\n|---|---|---|"
        for action in table:
            keys = " ".join(f"`{key}`" for key in key_names(action.keys).split())
            yield f"| {keys} | {action.help} | `{identifier(page, action)}` |"
        yield ""


def with_keys(page: str) -> str:
    """The text of the page with its tables of keys as they should be."""
    tables = "\n".join(_tables())
    return _PART.sub(lambda part: f"{part[1]}\n{tables}\n{part[2]}", page)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_keys(file.read_text(encoding="utf-8")), encoding="utf-8")
