"""The terminal to draw on: whether it is there, and what it understands."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper


def hang_up_if_gone() -> None:
    """End this process as a hang-up does, where the terminal of stdin is gone.

    The system sends SIGHUP only to whose controlling terminal it was. Others would go on unseen, with a reader of
    Textual's that spins at the end of its input.
    """
    if sys.platform == "win32":
        return
    import termios

    try:
        termios.tcgetattr(0)
    except termios.error:
        os.kill(os.getpid(), signal.SIGHUP)


def write_utf8() -> None:
    """Terminals understand it, whatever the locale says; in another encoding no frame could be drawn."""
    if isinstance(sys.__stderr__, TextIOWrapper):
        sys.__stderr__.reconfigure(encoding="utf-8", errors="replace")
