"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# Nothing that depends on the speed of the machine decides whether a test passes.
settings.register_profile("lmrun", deadline=None)
settings.load_profile("lmrun")
