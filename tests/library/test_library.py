"""The bundled tasks: each can be asked and scored, asks what is pinned, and says what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lmrun import bundled
from lmrun.errors import LmrunError
from lmrun.tasks import TaskConfig
from tests.library.pin import complaint, read_pins
from tests.library.shipped import Pin, Shipped, pin_of, score

NOT_HERE = "which is not installed"
"""What is said of a task that needs a package or data which is no part of the development environment."""
OWN_DATA = frozenset({"demo"})
"""Families whose data is lmrun's own: no paper, nothing to compare with."""

FAMILIES = sorted(path.name for path in bundled.tasks_dir().iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMRUN_CACHE_DIR", str(tmp_path_factory.mktemp("derived")))
        made = Shipped(tmp_path_factory.mktemp("mirror"))
        assert made.catalog.problems() == ()
        return made


@pytest.mark.parametrize("family", FAMILIES)
def test_tasks_ask_what_is_pinned_and_can_be_scored(family: str, shipped: Shipped) -> None:
    told = [text for config in shipped.configs(family) for text in problems_of(config, shipped)]
    wrong = [text for text in told if NOT_HERE not in text]
    assert not wrong, "\n".join(wrong)
    if told:
        pytest.skip(f"asked, not scored: {told[0]}")


def problems_of(config: TaskConfig, shipped: Shipped) -> Iterator[str]:
    if shipped.lacks_rows(config):
        yield f"{config.task} has no rows in tests/library/fixtures"
        return
    try:
        task = shipped.task(config)
        told = complaint(task.name, read_pins().get(task.name), pin_of(task))
        if told:
            yield told
        if not score(task):
            yield f"{task.name} has no score"
    except LmrunError as error:
        yield "\n".join([f"{config.task}: {error.message}", *map(str, error.problems)])


def test_a_changed_prompt_needs_another_version() -> None:
    old = Pin(1.0, "00")
    assert complaint("t", old, old) is None
    assert "raise metadata.version" in str(complaint("t", old, Pin(1.0, "11")))
    assert "version 1.0 is pinned" in str(complaint("t", old, Pin(2.0, "11")))
    assert "not pinned" in str(complaint("t", None, old))


def test_no_pin_is_left_of_a_task_that_is_gone(shipped: Shipped) -> None:
    known = {entry.name for entries in shipped.entries.values() for entry in entries}
    assert not read_pins().keys() - known, "python -m tests.library.pin"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_task_states_its_languages(family: str, shipped: Shipped) -> None:
    entries = shipped.entries.get(family, [])
    silent = [entry.name for entry in entries if not entry.languages]
    assert not silent, f"metadata without languages: {', '.join(silent)}"
    odd = [code for entry in entries for code in entry.languages if not re.fullmatch("[a-z]{2,3}", code)]
    assert not odd, f"not ISO 639 codes: {', '.join(odd)}"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in OWN_DATA])
def test_every_family_says_what_it_is(family: str) -> None:
    text = (bundled.tasks_dir() / family / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    for line in ("Papers?: ", "Data: ", "Licence of the data", "Docs evaluated", "To compare with: "):
        assert re.search(rf"^- {line}", text, re.M), f"tasks/{family}/README.md has no line '- {line}'"
    assert re.search(r"^- Papers?: .*https?://", text, re.M), f"tasks/{family}/README.md: a link to the paper"


def test_the_list_of_families_is_complete_and_its_names_exist(shipped: Shipped) -> None:
    text = (bundled.tasks_dir() / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[[^\]]+\]\(([^/)]+)/\) \| ([^|]+) \|", text, re.M))
    assert set(rows) == set(FAMILIES)
    named = {name for row in rows.values() for name in re.findall(r"`([^`]+)`", row)}
    known = set(shipped.catalog.names())
    missing = {name for name in named if not _stands_for_some(name, known)}
    assert not missing, f"named in tasks/README.md and not there: {', '.join(sorted(missing))}"


def _stands_for_some(name: str, known: set[str]) -> bool:
    """Whether a name, or a pattern such as ``mmlu_*`` or ``arithmetic_<n>da``, stands for tasks that exist."""
    pattern = re.compile(re.sub(r"\\\*|<[^>]*>|…", ".+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">")))
    return any(pattern.fullmatch(one) for one in known)
