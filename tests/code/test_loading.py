"""Which module a name comes from, and which source counts as a function's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef

Write = Callable[..., FunctionRef]


@pytest.mark.parametrize("below", [".", "lm_eval/tasks"])
def test_modules_of_a_tree_import_one_another(functions: TaskFunctions, write: Write, below: str) -> None:
    write("NAME = 'shared'", module="shared", below=f"{below}/family")
    write("NAME = 'deeper'", module="more", below=f"{below}/family/deeper")
    write("NAME = 'beside'", module="utils", below=f"{below}/other")
    ref = write(
        """
        from lm_eval.tasks.family import shared as absolute
        from lm_eval.tasks.other.utils import NAME as beside
        import lm_eval.tasks.family.deeper.more
        from . import shared
        from .deeper.more import NAME as deeper
        from ..other.utils import NAME as upwards

        def f():
            return shared.NAME, absolute.NAME, beside, deeper, upwards, lm_eval.tasks.family.deeper.more.NAME, __name__
    """,
        below=f"{below}/family",
    )
    *names, module = functions.call(ref)
    assert names == ["shared", "shared", "beside", "deeper", "beside", "deeper"]
    assert module.endswith(".family.utils")
    assert module.startswith("lm_eval.tasks.") == (below != ".")


def test_the_file_beside_the_task_comes_before_an_installed_module(functions: TaskFunctions, write: Write) -> None:
    folder = write("def dumps(doc):\n    return 'ours'\n", module="json").folder
    assert functions.call(FunctionRef("json.dumps", folder), {}) == "ours"
    assert functions.call(FunctionRef("math.sqrt", folder), 4) == 2
    assert functions.call(FunctionRef("os.path.basename", folder), "a/b") == "b"


def test_a_module_in_a_folder_below(functions: TaskFunctions, write: Write) -> None:
    folder = write("").folder
    write("def f():\n    return 'deep'\n", module="helpers", below="some/where")
    assert functions.call(FunctionRef("some.where.helpers.f", folder)) == "deep"


def test_any_attribute_counts_also_one_made_at_run_time(functions: TaskFunctions, write: Write) -> None:
    folder = write("""
        from functools import partial

        def add(a, b):
            return a + b

        for n in range(3):
            globals()[f"add_{n}"] = partial(add, n)

        class Count:
            def __new__(cls, items):
                return len(items)
    """).folder
    assert [functions.call(FunctionRef(f"utils.add_{n}", folder), 10) for n in range(3)] == [10, 11, 12]
    assert functions.call(FunctionRef("utils.Count", folder), [1, 2]) == 2


def test_two_folders_with_the_same_names_do_not_mix(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "lm_eval/tasks", "old/lm_eval/tasks")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "utils.py").write_text(f"from .part import NUMBER\ndef f():\n    return {number}, NUMBER\n")
        (folder / "part.py").write_text(f"NUMBER = {number}\n")
    with TaskFunctions(folders) as functions:
        assert [functions.call(FunctionRef("utils.f", folder)) for folder in folders] == [(n, n) for n in range(4)]


def test_the_source_of_a_function_is_its_folder_and_all_that_it_imports_of_its_tree(
    tmp_path: Path, write: Write
) -> None:
    ref = write("from .part import x\nfrom lm_eval.tasks.far.away import y\nimport json\ndef f(): pass\n")
    files = {
        "part": write("from .cycle import z\nx = 1\n", module="part").folder / "part.py",
        "cycle": write("from . import utils\nz = 1\n", module="cycle").folder / "cycle.py",
        "far": write("y = 1\n", module="away", below="far").folder / "away.py",
    }
    write("beside = 1", module="beside")
    unrelated = write("unrelated = 1", module="away", below="other").folder / "away.py"

    def value() -> str:
        return TaskFunctions([ref.folder]).source_hash(ref)

    before = value()
    assert len(before) == 32
    assert value() == before
    for file in (*files.values(), ref.folder / "utils.py", ref.folder / "beside.py"):
        text = file.read_text()
        file.write_text(text + "# changed\n")
        assert value() != before
        file.write_text(text)
    unrelated.write_text("unrelated = 2")
    assert value() == before
    moved = tmp_path / "elsewhere"
    ref.folder.rename(moved)
    assert TaskFunctions([moved]).source_hash(FunctionRef(ref.target, moved)) == before


def test_the_source_of_an_installed_function_is_its_package(write: Write) -> None:
    folder = write("").folder
    functions = TaskFunctions([folder])
    first = functions.source_hash(FunctionRef("numpy.mean", folder))
    assert functions.source_hash(FunctionRef("jinja2.utils.pass_context", folder)) != first
    (folder / "broken.py").write_text("def f(:")
    assert functions.source_hash(FunctionRef("broken.f", folder)) != first


def test_an_installed_lm_eval_serves_what_the_stand_in_lacks(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    for name, code in {
        "lm_eval/__init__.py": "raise RuntimeError('not to be imported')",
        "lm_eval/utils.py": "def rare():\n    return 'rare'\ndef general_detokenize(text):\n    return 'not ours'\n",
        "lm_eval/extra.py": "VALUE = 'extra'",
        "lm_eval/tasks/__init__.py": "raise RuntimeError('not to be imported')",
        "lm_eval/tasks/family/utils.py": "VALUE = 'installed'",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(code)
    monkeypatch.syspath_prepend(site)
    ref = write("""
        from lm_eval.utils import general_detokenize, rare
        from lm_eval.extra import VALUE as extra
        from lm_eval.tasks.family.utils import VALUE as installed

        def f():
            return rare(), general_detokenize("a ."), extra, installed
    """)
    with TaskFunctions([ref.folder]) as functions:
        assert functions.call(ref) == ("rare", "a.", "extra", "installed")


def test_without_lm_eval_a_missing_module_of_it_is_told(functions: TaskFunctions, write: Write) -> None:
    with pytest.raises(TaskError, match="lm_eval") as caught:
        functions.check(write("import lm_eval.models.huggingface"))
    assert "stands in" in str(caught.value.hint) or "lm_eval" in str(caught.value)
