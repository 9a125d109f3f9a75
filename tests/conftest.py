"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# Models of tests are slower with more, and threads of several test processes that wait for each other cost minutes. Set
# before torch is loaded; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing that depends on the speed of the machine decides whether a test passes.
settings.register_profile("lmrun", deadline=None)
settings.load_profile("lmrun")

# A shell starts jobs in the background with SIGINT ignored, and children inherit that: tests send it to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
