"""lmrun scores what lm-eval scores: per doc, aggregated, standard errors, groups; and real models answer alike."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from tests.parity.cases import Case, Setting
from tests.parity.compare import LOGPROB, compare_responses, compare_scores, same
from tests.parity.conftest import Sample
from tests.parity.make_model import make_encoder_decoder, make_model
from tests.parity.ours import Ours
from tests.parity.peer import Peer
from tests.parity.wide import compare_all_scores

pytestmark = pytest.mark.timeout(3600)

# One task of every request kind and scoring rule that a model's numbers go through.
MODEL_TASKS = ("arc_easy", "hellaswag", "winogrande", "lambada_openai", "wikitext", "truthfulqa_mc2", "gsm8k")
DOCS = {"wikitext": 3, "gsm8k": 4}
DEFAULT_DOCS = 10


def test_scores_of_the_stub_are_identical(sample: Sample) -> None:
    for setting in sample.wide.scored:
        lines = compare_all_scores(sample.ours, sample.wide, setting, sample.dumps)
        differences = [f"{line.task}: {line.result or line.reason}" for line in lines if line.refused or line.different]
        assert not differences, setting.label + "\n" + "\n".join(differences)
        assert any(line.good for line in lines)


@pytest.fixture(scope="session", params=["eos only", "bos"])
def model(request: pytest.FixtureRequest, peer: Peer) -> Path:
    """A random Llama; one without and one with a tokenizer that puts a BOS first."""
    bos = request.param == "bos"
    return make_model(peer.cache / ("model-bos" if bos else "model"), peer.mirror, bos=bos)


@pytest.mark.parametrize(
    "setting", [Setting("as the task says"), Setting("chat", 1, chat=True, multiturn=True)], ids=lambda s: s.label
)
def test_a_real_model_answers_alike(model: Path, setting: Setting, peer: Peer, ours: Ours) -> None:
    if setting.chat and "bos" in model.name:
        pytest.skip("the template gives no BOS: one setting of chat is enough")
    # A text that is only measured has no examples to show.
    tasks = [task for task in MODEL_TASKS if not (setting.num_fewshot and task == "wikitext")]
    assert not unlike(model, setting, tasks, peer, ours)


def test_an_encoder_decoder_answers_alike(peer: Peer, ours: Ours) -> None:
    ours_is, theirs_is = metadata.version("transformers"), peer.transformers
    if ours_is.split(".")[0] != theirs_is.split(".")[0]:
        pytest.skip(f"transformers {theirs_is} scales what a T5 puts out, and {ours_is} does not")
    model = make_encoder_decoder(peer.cache / "model-t5", peer.mirror)
    # lm-eval lets an encoder-decoder generate as many tokens more as the longest prompt of its batch has.
    tasks = [task for task in MODEL_TASKS if task != "gsm8k"]
    assert not unlike(model, Setting("as the task says"), tasks, peer, ours)


def unlike(model: Path, setting: Setting, tasks: Sequence[str], peer: Peer, ours: Ours) -> str:
    """Where answers and scores of a model differ from lm-eval's, in words."""
    available = set(ours.task_names())
    cases = [Case(t, setting, DOCS.get(t, DEFAULT_DOCS), model=str(model)) for t in tasks if t in available]
    dumps = peer.dumps(cases)
    assert [d["error"] for d in dumps.values() if "error" in d] == []
    differences = []
    for limit in sorted({case.limit for case in cases if case.limit}):
        some = [case for case in cases if case.limit == limit]
        entry = {"backend": "hf", "model": str(model), "dtype": "float32", "device": "cpu"}
        scored = ours.score([c.task for c in some], setting, limit, entry)
        for case in some:
            responses, _ = compare_responses(dumps[case], scored)
            # Standard errors are compared with the stub; drawing them again for a model would show nothing more.
            scores = compare_scores(dumps[case], scored, relative=LOGPROB, absolute=LOGPROB, stderr=False)
            if not (responses.identical and scores.docs.identical and scores.values.identical):
                differences.append(f"{case.label}: {responses}\n{scores}")
    return "\n".join(differences)


def test_numbers_are_compared_as_numbers() -> None:
    nan = float("nan")
    assert same([0.1 + 0.2, True], (0.30000000000000004, True), 1e-12)
    assert same(nan, nan, 1e-12)
    assert not same(1.0, 1.0 + 1e-9, 1e-12)
    assert not same("N/A", 0.0, 1e-12)
    assert not same([1.0], [1.0, 2.0], 1e-12)
