"""Fixtures of the comparison with lm-eval."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.cases import Case
from tests.parity.ours import Ours
from tests.parity.peer import MIRROR, PYTHON, Dump, Peer
from tests.parity.wide import request_cases, score_cases


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    unavailable = pytest.mark.skip(reason=f"set {PYTHON} (a Python with lm-eval 0.4.13) and {MIRROR} to compare")
    for item in items:
        if here in item.path.parents and "peer" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.parity)
            if Peer.from_environment() is None:
                item.add_marker(unavailable)


@pytest.fixture(scope="session")
def peer() -> Peer:
    found = Peer.from_environment()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def ours(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Ours:
    return Ours(peer.mirror, tmp_path_factory.mktemp("lmrun"))


@pytest.fixture(scope="session")
def request_dumps(peer: Peer, ours: Ours) -> dict[Case, Dump]:
    """Every bundled task in every setting, from one lm-eval process."""
    return peer.dumps(request_cases(peer, ours.task_names()))


@pytest.fixture(scope="session")
def score_dumps(peer: Peer, ours: Ours) -> dict[Case, Dump]:
    """Every bundled task and group with the stub's scores."""
    return peer.dumps(score_cases(peer, [*ours.task_names(), *ours.group_names()]))
