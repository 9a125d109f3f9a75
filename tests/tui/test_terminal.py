"""A terminal that vanishes without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmrun.store.runs import RunDirectory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_an_app_whose_terminal_is_gone_ends(finished: RunDirectory) -> None:
    ours, its = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    # A session of its own has no controlling terminal: nobody sends it a hang-up.
    app = subprocess.Popen(
        [sys.executable, "-m", "lmrun", "show", str(finished.path)],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment,
        start_new_session=True,
    )
    os.close(its)
    try:
        seen = b""
        while b"samples" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        assert app.wait(60) == -signal.SIGHUP
    finally:
        app.kill()
        app.wait()
