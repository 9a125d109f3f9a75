"""Nothing that code does changes the process that asks for it, and nothing stays behind."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lmrun.code import TaskFunctions
from lmrun.errors import TaskError
from lmrun.functions import FunctionRef

Write = Callable[..., FunctionRef]


def test_code_cannot_touch_our_state(functions: TaskFunctions, write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    ref = write("""
        import builtins, json, logging, os, random, sys, threading

        def f(doc):
            random.seed(7)
            os.environ["LMRUN_TOUCHED"] = "yes"
            os.chdir("/")
            sys.path.insert(0, "/nowhere")
            json.dumps = None
            builtins.open = None
            logging.getLogger().setLevel(1)
            logging.disable()
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            print("to standard output")
            print("to standard error", file=sys.stderr)
            os.write(1, b"straight to it")
            return os.getpid()
    """)

    def state() -> tuple[object, ...]:
        level, disabled = logging.getLogger().level, logging.root.manager.disable
        return random.getstate(), dict(os.environ), Path.cwd(), list(sys.path), level, disabled, len("four")

    before = state()
    pid = functions.call(ref, {})
    assert pid != os.getpid()
    assert state() == before
    assert not any("task_files" in name or name == "lm_eval" for name in sys.modules)
    functions.close()
    assert capfd.readouterr() == ("", "")


def test_code_that_breaks_its_own_process_ends_it(functions: TaskFunctions, write: Write) -> None:
    ref = write("import builtins\ndef f():\n    builtins.len = None\n")
    with pytest.raises(TaskError, match="its process ended"):
        functions.call(ref)
    assert len("four") == 4


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("os._exit(3)", "ended with exit status 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
    ],
)
def test_a_crash_is_one_error_and_the_next_call_runs(
    functions: TaskFunctions, write: Write, how: str, said: str
) -> None:
    ref = write(f"""
        import os, signal, sys

        calls = 0

        def f(doc):
            global calls
            calls += 1
            if doc["crash"]:
                print("last words", flush=True)
                {how}
            return calls
    """)
    assert functions.call(ref, {"crash": False}) == 1
    assert functions.call(ref, {"crash": False}) == 2
    with pytest.raises(TaskError, match=f"!function utils.f: its process {said}") as caught:
        functions.call(ref, {"crash": True})
    assert "last words" in str(caught.value.hint)
    assert functions.call(ref, {"crash": False}) == 1  # a fresh module


@pytest.mark.parametrize("how", ["sys.exit(4)", "raise KeyboardInterrupt", "raise SystemExit", "1 / 0", "f(doc)"])
def test_what_code_raises_is_an_error_of_that_call(functions: TaskFunctions, write: Write, how: str) -> None:
    ref = write(f"import sys\ndef f(doc):\n    {how}\ndef pid():\n    import os\n    return os.getpid()\n")
    same = FunctionRef("utils.pid", ref.folder)
    pid = functions.call(same)
    with pytest.raises(TaskError, match=r"utils.py:3"):
        functions.call(ref, {})
    assert functions.call(same) == pid


def test_the_process_ends_with_what_it_started(functions: TaskFunctions, write: Write) -> None:
    ref = write("""
        import os, subprocess, sys

        def f():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            return os.getpid(), child.pid
    """)
    pids = functions.call(ref)
    assert all(psutil.pid_exists(pid) for pid in pids)
    functions.close()
    assert _gone(pids)
    assert not [child for child in psutil.Process().children() if child.pid in pids]
    assert functions.call(ref)[0] != pids[0]  # closing is not the end of it


def test_a_dropped_object_ends_its_process(folder: Path, write: Write) -> None:
    functions = TaskFunctions([folder])
    pid = functions.call(write("import os\ndef f():\n    return os.getpid()"))
    del functions
    assert _gone([pid])


def test_the_process_ends_when_its_parent_is_killed(write: Write, folder: Path, tmp_path: Path) -> None:
    write("""
        import os, time
        from pathlib import Path

        def f(out):
            Path(out).write_text(str(os.getpid()))
            time.sleep(600)
    """)
    out = tmp_path / "pid"
    code = """
        import sys
        from pathlib import Path
        from lmrun.code import TaskFunctions
        from lmrun.functions import FunctionRef
        folder = Path(sys.argv[1])
        TaskFunctions([folder]).call(FunctionRef("utils.f", folder), sys.argv[2])
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(folder), str(out)])
    assert _soon(lambda: out.exists() and out.read_text() != "")
    pid = int(out.read_text())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    assert _gone([pid])


def test_an_interrupt_is_for_the_parent(functions: TaskFunctions, write: Write) -> None:
    ref = write("""
        import os, signal

        def f():
            os.kill(os.getpid(), signal.SIGINT)
            return os.getpid(), os.getpgid(0)
    """)
    pid, group = functions.call(ref)
    assert group == pid != os.getpgid(0)


def test_an_interrupted_call_does_not_confuse_the_next(functions: TaskFunctions, write: Write) -> None:
    ref = write("import time\ndef f(seconds):\n    time.sleep(seconds)\n    return seconds\n")
    assert functions.call(ref, 0) == 0
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        functions.call(ref, 600)
    timer.join()
    assert functions.call(ref, 0) == 0


def test_calls_of_many_threads_do_not_mix(functions: TaskFunctions, write: Write) -> None:
    ref = write("def f(value):\n    return value\n")
    wrong: list[int] = []

    def ask(start: int) -> None:
        wrong.extend(i for i in range(start, start + 200) if functions.call(ref, i) != i)

    threads = [threading.Thread(target=ask, args=(1000 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false", None])
def test_a_process_that_cannot_start_is_an_error(
    functions: TaskFunctions, write: Write, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    ref = write("def f():\n    return 1\n")
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(TaskError, match=r"!function utils.f: (cannot start|its process ended)"):
        functions.call(ref)
    monkeypatch.undo()
    assert functions.call(ref) == 1


def test_only_trusted_folders_run(tmp_path: Path, write: Write, folder: Path) -> None:
    marker = tmp_path / "ran"
    ref = write(f"from pathlib import Path\nPath({str(marker)!r}).touch()\ndef f():\n    return 1\n", below="deep/er")
    for trusted in ([], [tmp_path / "other"], [folder / "deep" / "other"]):
        with TaskFunctions(trusted) as functions:
            with pytest.raises(TaskError, match="is not trusted") as caught:
                functions.call(ref)
            assert "trust = true" in str(caught.value.hint)
            assert "--trust" in str(caught.value.hint)
            assert caught.value.problems[0].location == ref.location
            functions.source_hash(ref)  # nothing is run for it
    assert not marker.exists()
    link = tmp_path / "link"
    link.symlink_to(folder)
    for trusted, where in (([folder], ref.folder), ([link], ref.folder), ([folder], link / "deep" / "er")):
        with TaskFunctions(trusted) as functions:
            assert functions.call(FunctionRef("utils.f", where)) == 1


def _soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _gone(pids: object) -> bool:
    assert isinstance(pids, list | tuple)

    def running(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return _soon(lambda: not any(running(pid) for pid in pids))
