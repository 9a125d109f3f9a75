"""The parts of the ``vllm`` backend that work without vLLM; its engine itself is tested in ``tests/servers``."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from lmrun.backends.base import ModelSpec, Needs
from lmrun.backends.generation import normalise
from lmrun.backends.hf import HfBackend
from lmrun.backends.tokenize import Encoder, Unanswerable
from lmrun.backends.vllm import VllmBackend
from lmrun.backends.vllm.desk import Desk
from lmrun.backends.vllm.devices import device_groups
from lmrun.backends.vllm.limits import Limits, logprob_bytes, scoring_limits
from lmrun.backends.vllm.messages import Start
from lmrun.backends.vllm.options import VllmOptions
from lmrun.backends.vllm.questions import (
    MOST_WANTED,
    Continued,
    Part,
    Question,
    Refused,
    Reply,
    Scored,
    Scoring,
    sheets,
)
from lmrun.backends.vllm.sampling import sampling
from lmrun.backends.vllm.worker import limits_of
from lmrun.errors import BackendError
from lmrun.requests import Request, Response
from tests.backends import make

GIB = 1 << 30
LARGE = 152_064
"""Tokens in the vocabulary of many models."""


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [16, 24, 40, 80, 141])
def test_log_probabilities_fit_beside_what_the_engine_reserves(memory: int) -> None:
    limits = scoring_limits(LARGE, memory * GIB)
    needed = logprob_bytes(limits.max_num_batched_tokens, limits.max_num_seqs, LARGE)
    assert needed <= 0.1 * memory * GIB
    assert limits.gpu_memory_utilization * memory * GIB + needed <= 0.96 * memory * GIB
    assert limits.max_num_seqs <= limits.max_num_batched_tokens


def test_a_small_vocabulary_costs_nothing() -> None:
    assert scoring_limits(32_000, 80 * GIB) == Limits(8192, 256, 0.9)


def test_what_the_user_reserves_stays_and_steps_become_smaller() -> None:
    roomy, tight = scoring_limits(LARGE, 80 * GIB, 0.8), scoring_limits(LARGE, 80 * GIB, 0.95)
    assert (roomy.gpu_memory_utilization, tight.gpu_memory_utilization) == (0.8, 0.95)
    assert tight.max_num_batched_tokens < roomy.max_num_batched_tokens


def test_limits_shrink_with_each_death_and_only_then_where_nothing_is_scored() -> None:
    def start(**more: Any) -> Start:
        return Start({}, LARGE, None, **more)

    calm = limits_of(start(bounded=True), 24 * GIB)
    assert calm == scoring_limits(LARGE, 24 * GIB)
    assert limits_of(start(bounded=False), 24 * GIB) is None
    after = limits_of(start(bounded=False, deaths=1), 24 * GIB)
    assert after is not None
    assert after.max_num_batched_tokens < calm.max_num_batched_tokens
    assert after.max_num_seqs < calm.max_num_seqs
    assert after.gpu_memory_utilization < calm.gpu_memory_utilization


# -- questions ---------------------------------------------------------------------------------------------------------


def part(owner: int, context: Sequence[int], continuation: Sequence[int]) -> Part:
    return Part(owner, [*context, *continuation][:-1], continuation)


def test_choices_of_one_token_share_a_question() -> None:
    found = sheets([part(i, [7, 8, 9], [token]) for i, token in enumerate((5, 3, 5))])
    assert [sheet.question for sheet in found] == [Scoring((7, 8, 9), 0, (3, 5))]
    assert found[0].owners == ((1,), (0, 2))


def test_long_choices_after_a_long_context_are_asked_token_by_token() -> None:
    context = list(range(100, 300))
    found = sheets([part(0, context, [1, 2]), part(1, context, [1, 3])])
    asked = [(len(sheet.question.tokens), sheet.question.tail, sheet.question.wanted) for sheet in found]
    assert asked == [(200, 0, (1,)), (201, 0, (2, 3))]


def test_a_context_of_one_choice_or_a_short_one_is_asked_at_once() -> None:
    alone = sheets([part(0, list(range(200)), [1, 2])])
    short = sheets([part(i, [7, 8], [1, 2, 3 + i]) for i in range(2)])
    assert [sheet.question for sheet in alone] == [Scoring((*range(200), 1), 1, (2,))]
    assert [sheet.question for sheet in short] == [Scoring((7, 8, 1, 2), 2, (3, 4))]


def test_questions_that_begin_alike_are_next_to_each_other() -> None:
    parts = [part(i, [i % 2, i % 3, i], [1]) for i in range(12)]
    random.Random(1).shuffle(parts)
    tokens = [sheet.question.tokens for sheet in sheets(parts)]
    assert tokens == sorted(tokens)


def test_more_tokens_than_vllm_takes_are_several_questions() -> None:
    found = sheets([part(i, [9], [i]) for i in range(MOST_WANTED + 2)])
    assert [len(sheet.question.wanted) for sheet in found] == [MOST_WANTED, 2]


# -- from requests to responses ----------------------------------------------------------------------------------------


class Oracle:
    """Answers questions with a model of transformers, one by one, as vLLM would."""

    def __init__(self, backend: HfBackend) -> None:
        assert backend._loaded is not None
        self.model = backend._loaded.model
        self.encoder: Encoder = backend._loaded.encoder
        self.ends = backend._loaded.generator().end_tokens()

    def reply(self, question: Question) -> Reply:
        if isinstance(question, Scoring):
            rows = self._rows(question.tokens)
            n, tail = len(question.tokens), question.tail
            scored = [(rows[i - 1], question.tokens[i]) for i in range(n - tail, n)]
            greedy = all(int(row.argmax()) == token for row, token in scored)
            wanted = tuple(float(rows[-1][token]) for token in question.wanted)
            return Scored(tuple(float(row[token]) for row, token in scored), greedy, wanted, int(rows[-1].argmax()))
        tokens: list[int] = []
        while len(tokens) < question.sampling["max_tokens"]:
            tokens.append(int(self._rows([*question.tokens, *tokens])[-1].argmax()))
            text = self.encoder.tokenizer.decode(tokens)
            if tokens[-1] in question.sampling["stop_token_ids"] or any(s in text for s in question.sampling["stop"]):
                return Continued(tuple(tokens), "stop")
        return Continued(tuple(tokens), "length")

    def _rows(self, tokens: Sequence[int]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(torch.tensor([list(tokens)])).logits[0].float().log_softmax(dim=-1)


WORDS = " ".join(make.WORDS[:30])
REQUESTS = [
    *(Request("loglikelihood", f"{WORDS} {WORDS}:", f" {choice}") for choice in ("yes", "no", "maybe the cat", "")),
    Request("loglikelihood", "", "the cat sat"),
    Request("loglikelihood", "the cat", " sat on a mat and"),
    Request("loglikelihood", "the cat", " sat on a dog"),
    Request("loglikelihood", "x " * 400, "y"),
    Request("loglikelihood_rolling", "", f"{WORDS} … {WORDS} {WORDS}"),
    Request("loglikelihood_rolling", "", ""),
    Request("generate_until", "the cat", generation={"until": ["dog", "\n\n"], "max_gen_toks": 12}),
    Request("generate_until", "", generation={"max_gen_toks": 3}),
    Request("generate_until", "rain", generation={"max_gen_toks": 4_000}),
]


@pytest.mark.parametrize("tails", [True, False])
def test_questions_and_replies_amount_to_what_hf_says(load: Callable[..., HfBackend], *, tails: bool) -> None:
    backend = load(max_length=96)
    oracle = Oracle(backend)
    desk = Desk(oracle.encoder, 96, ends=sorted(oracle.ends), tails=tails)
    asked = desk.ask(list(enumerate(REQUESTS)))
    found = dict(asked.answers)
    for number, question in asked.questions:
        found.update(desk.answer(number, oracle.reply(question)))
    expected: dict[int, Response] = {}
    for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        places = [i for i, request in enumerate(REQUESTS) if request.kind == kind]
        for chunk in backend.run([REQUESTS[i] for i in places]):
            expected.update((places[i], response) for i, response in chunk)
    assert found.keys() == expected.keys()
    for i, response in expected.items():
        assert found[i].error == response.error, i
        assert found[i].logprob == pytest.approx(response.logprob, abs=1e-4), i
        for name in (
            "is_greedy",
            "text",
            "finish_reason",
            "completion_tokens",
            "prompt_tokens",
            "dropped_tokens",
            "notes",
        ):
            assert getattr(found[i], name) == getattr(response, name), (i, name)


def test_what_the_engine_refuses_is_an_error_of_its_request_alone(load: Callable[..., HfBackend]) -> None:
    oracle = Oracle(load(max_length=96))
    desk = Desk(oracle.encoder, 96)
    asked = desk.ask([(0, Request("loglikelihood_rolling", "", WORDS * 6)), (1, Request("loglikelihood", "a", " b"))])
    replies = {n: oracle.reply(q) if len(q.tokens) < 5 else Refused("no room") for n, q in asked.questions}
    found = dict(answer for n, reply in replies.items() for answer in desk.answer(n, reply))
    assert len(replies) > 2
    assert found[0].error is not None
    assert found[0].error.message == "no room"
    assert found[1].error is None


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here: its engine would start")
def test_an_engine_that_cannot_start_says_why(folders: Callable[..., Path], tmp_path: Path) -> None:
    backend = VllmBackend(ModelSpec("m", "vllm", str(folders()), state=tmp_path))
    backend.load()
    with pytest.raises(BackendError, match="does not start: ModuleNotFoundError: No module named 'vllm'"):
        list(backend.stream(iter([(0, REQUESTS[0])])))
    backend.close()
    assert "Traceback" in (tmp_path / "vllm.log").read_text(encoding="utf-8")
    assert not [child for child in psutil.Process().children() if "lmrun.backends.vllm.worker" in child.cmdline()]


def test_chats_need_a_template(folders: Callable[..., Path]) -> None:
    backend = VllmBackend(ModelSpec("m", "vllm", str(folders())))
    backend.load()
    backend.check(Needs(frozenset(("generate_until",))))
    with pytest.raises(BackendError, match="chat template"):
        backend.check(Needs(frozenset(("generate_until",)), messages=True))


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_the_task_wins_over_the_model_and_the_model_over_vllm() -> None:
    wanted = normalise({"do_sample": True, "temperature": 0.6, "max_gen_toks": 5, "min_new_tokens": 2})
    found = sampling(wanted, {"temperature": 0.9, "top_k": 20, "repetition_penalty": 1.1}, "0" * 32)
    assert found["temperature"] == 0.6
    assert (found["top_k"], found["top_p"], found["repetition_penalty"]) == (20, 1.0, 1.1)
    assert (found["max_tokens"], found["min_tokens"]) == (5, 2)


def test_a_greedy_answer_has_no_seed_and_heeds_no_sampling() -> None:
    found = sampling(normalise({"do_sample": False, "temperature": 0.7, "typical_p": 0.5}), {"top_k": 20}, "f" * 32)
    assert found["temperature"] == 0.0
    assert not {"seed", "top_k"} & found.keys()


def test_seeds_come_from_the_request() -> None:
    wanted = normalise({"do_sample": True})
    seeds = [sampling(wanted, {}, key)["seed"] for key in ("0123456789abcdef" * 2, "f" * 32, "f" * 32)]
    assert seeds[0] != seeds[1] == seeds[2] < 1 << 63


@pytest.mark.parametrize("parameters", [{"num_beams": 4}, {"no_repeat_ngram_size": 3}, {"top_k_": 5}])
def test_what_vllm_cannot_do_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(Unanswerable, match=next(iter(parameters))):
        sampling(normalise(parameters), {}, "0" * 32)
    assert sampling(normalise({"num_beams": 1, "use_cache": True, "early_stopping": True}), {}, "0" * 32)


# -- options, identity, devices ----------------------------------------------------------------------------------------


def options(**given: Any) -> VllmOptions:
    return VllmOptions.of(ModelSpec("m", "vllm", "x", given))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tensor_paralel_size": 2}, "tensor_parallel_size"),
        ({"dtype": "float64"}, "float64"),
        ({"dtype": "int3"}, "int3"),
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization"),
        ({"data_parallel_size": 0}, "data_parallel_size"),
        ({"too_long": "right"}, "too_long"),
        ({"device": "cuda"}, "device"),
    ],
)
def test_options_that_cannot_be_meant(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BackendError) as error:
        options(**given)
    assert words in f"{error.value} {error.value.hint}"


def test_options_are_shared_with_hf() -> None:
    found = options(dtype="bfloat16", max_length=64, adapter="a/b", tensor_parallel_size=2, pipeline_parallel_size=3)
    assert (found.model.dtype, found.model.max_length, found.devices) == ("bfloat16", 64, 6)


def adapter(folder: Path, rank: int = 4, scale: bytes = b"1") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(f'{{"peft_type": "LORA", "r": {rank}}}', encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(scale)
    return folder


def test_the_identity_tells_from_hf_and_has_what_changes_answers(folders: Callable[..., Path], tmp_path: Path) -> None:
    model = str(folders())

    def fingerprint(**given: Any) -> str:
        return VllmBackend(ModelSpec("m", "vllm", model, given)).identify().fingerprint

    variants: list[dict[str, Any]] = [
        {},
        {"dtype": "bfloat16"},
        {"quantization": "fp8"},
        {"adapter": str(adapter(tmp_path / "a"))},
        {"adapter": str(adapter(tmp_path / "b", scale=b"2"))},
        {"engine": {"kv_cache_dtype": "fp8"}},
        {"max_length": 64},
    ]
    found = [fingerprint(**given) for given in variants]
    assert len({*found, HfBackend(ModelSpec("m", "hf", model)).identify().fingerprint}) == len(variants) + 1
    assert fingerprint(tensor_parallel_size=2, gpu_memory_utilization=0.5, enforce_eager=True) == found[0]


def test_a_folder_without_an_adapter_is_refused(folders: Callable[..., Path], tmp_path: Path) -> None:
    backend = VllmBackend(ModelSpec("m", "vllm", str(folders()), {"adapter": str(tmp_path)}))
    with pytest.raises(BackendError, match="adapter_config"):
        backend.identify()


def test_each_engine_gets_devices_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1, GPU-7,0,2")
    assert device_groups(2, 2) == [("3", "1"), ("GPU-7", "0")]
    assert device_groups(4, 1) == [()]
    with pytest.raises(BackendError, match="6"):
        device_groups(2, 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_groups(1, 2) == [(), ()]
