"""Fixtures of the comparison with lm-eval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parity.cases import QUICK, SCORED, SETTINGS, Case
from tests.parity.data import Library, fixtures_mirror, with_data
from tests.parity.ours import Ours
from tests.parity.peer import MIRROR, PYTHON, Dump, Peer
from tests.parity.wide import Wide

UNAVAILABLE = f"set {PYTHON} (a Python with lm-eval 0.4.13) and {MIRROR} to compare"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and {"peer", "sample"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.parity)
            if Peer.from_environment() is None:
                item.add_marker(pytest.mark.skip(reason=UNAVAILABLE))


@pytest.fixture(scope="session")
def peer() -> Peer:
    found = Peer.from_environment()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def ours(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Ours:
    return Ours(peer.mirror, tmp_path_factory.mktemp("lmrun"))


@dataclass(frozen=True)
class Sample:
    """Tasks of every family, and what lm-eval says of them."""

    ours: Ours
    wide: Wide
    dumps: dict[Case, Dump]


@pytest.fixture(scope="session", params=["mirror", "fixtures", "lm-eval"])
def sample(request: pytest.FixtureRequest, peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Bundled tasks over real data and over invented rows, and some of lm-eval's own task files."""
    folder = peer.tasks_folder if request.param == "lm-eval" else None
    library = Library(folder, peer.cache)
    tasks = library.names("task", LM_EVAL_TASKS if folder else "*")
    if request.param == "fixtures":
        peer = Peer(peer.python, fixtures_mirror(library, tasks, peer.cache / "fixtures-tasks"))
    tasks = with_data(library, tasks, peer.mirror)
    groups = [] if folder else [g for g in library.groups_of(tasks) if len(library.leaves(g)) <= GROUP_SIZE]
    if folder is None:
        tasks = one_of_each(library, tasks)
    # Invented rows are few, so examples and chats are compared wherever the rows suffice.
    settings = SETTINGS if request.param == "mirror" else QUICK
    scored = SCORED if request.param == "mirror" else QUICK
    wide = Wide(tasks, groups, settings, scored, limit=8, bootstrap=False)
    ours = Ours(peer.mirror, tmp_path_factory.mktemp("lmrun"), folder, peer.packages if folder else ())
    return Sample(ours, wide, peer.dumps(wide.cases(peer)))


GROUP_SIZE = 12
"""Larger groups are left to the report."""
LM_EVAL_TASKS = ",".join(
    (
        *("arc_challenge", "hellaswag", "winogrande", "truthfulqa_*", "gsm8k*", "drop", "wikitext", "ifeval"),
        *("bbh_cot_fewshot_navigate", "bbh_zeroshot_snarks", "mmlu_pro_law", "mmlu_flan_cot_zeroshot_virology"),
        *("minerva_math_algebra", "leaderboard_musr_*", "agieval_sat_math", "mgsm_direct_de", "crows_pairs_english"),
        *("xcopa_it", "cmmlu_agronomy", "bbq", "eq_bench", "pubmedqa", "ethics_virtue", "lambada_openai"),
    )
)


def one_of_each(library: Library, tasks: list[str]) -> list[str]:
    """The first task of every folder and output type: what the files of a family share need not be shown twice."""
    found: dict[tuple[Path, str | None], str] = {}
    entries = library.catalog.index.entries
    for task in tasks:
        entry = entries[task]
        assert entry.file is not None
        found.setdefault((Path(entry.file).parent, entry.output_type), task)
    return list(found.values())
