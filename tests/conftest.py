"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# Nothing that depends on the speed of the machine decides whether a test passes.
settings.register_profile("lmrun", deadline=None)
settings.load_profile("lmrun")

# A shell starts jobs in the background with SIGINT ignored, and children inherit that: tests send it to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
