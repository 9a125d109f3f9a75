"""Whether there still is a terminal to draw on."""

from __future__ import annotations

import os
import signal
import sys


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
