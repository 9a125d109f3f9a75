"""Models with a state, reduced precision, compiled, spread, quantised, with an adapter or a delta, from a GGUF file."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend, packages
from lmrun.errors import BackendError
from lmrun.requests import Request, Response
from tests.backends import kinds
from tests.backends.conftest import Load
from tests.backends.test_generating import prompts
from tests.backends.test_scoring import answers, pairs, parts, texts

torch = pytest.importorskip("torch")
Folders = Callable[..., Path]


def backend(folder: Path | str, **options: Any) -> HfBackend:
    return HfBackend(ModelSpec("m", "hf", str(folder), {"device": "cpu", **options}))


def asked(folder: Path | str, requests: list[Request], **options: Any) -> dict[int, Response]:
    made = backend(folder, **options)
    made.load()
    try:
        return answers(made, requests)
    finally:
        made.close()


def fingerprint(folder: Path | str, **options: Any) -> str:
    return backend(folder, **options).identify().fingerprint


def furthest(found: dict[int, Response], other: dict[int, Response]) -> float:
    """The largest difference of two scores per scored token."""
    assert found.keys() == other.keys()
    differences = []
    for i, answer in found.items():
        known = other[i].logprob
        assert answer.logprob is not None
        assert known is not None
        assert math.isfinite(answer.logprob)
        differences.append(abs(answer.logprob - known) / answer.completion_tokens)
    return max(differences)


class TestStateful:
    @pytest.mark.parametrize("architecture", ["mamba", "rwkv"])
    def test_scores_are_those_of_requests_scored_one_by_one(self, load: Load, architecture: str) -> None:
        requests = pairs(6, longest=60)
        made = load(architecture, max_length=128)
        model, encoder = parts(made)
        for i, answer in answers(made, requests).items():
            context, scored, _ = encoder.pair(requests[i].context, requests[i].continuation)
            inputs = [*context, *scored][-129:-1]
            with torch.inference_mode():
                logits = model(torch.tensor([inputs]), use_cache=False).logits[0, -len(scored) :]
            expected = logits.double().log_softmax(-1)[range(len(scored)), list(scored)].sum()
            assert answer.logprob == pytest.approx(float(expected), abs=1e-4)

    @pytest.mark.parametrize("architecture", ["mamba", "rwkv"])
    def test_answers_are_those_of_prompts_continued_one_by_one(self, load: Load, architecture: str) -> None:
        requests = prompts(8, until=[])
        made = load(architecture, max_length=128)
        model, encoder = parts(made)
        for i, answer in answers(made, requests).items():
            prompt = torch.tensor([encoder.prompt(requests[i].context)])
            with torch.inference_mode():
                out = model.generate(prompt, max_new_tokens=10, do_sample=False, pad_token_id=0)
            assert answer.text == encoder.tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True)


class TestPrecision:
    @pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.15), ("float16", 0.05)])
    def test_half_precision_is_near(self, load: Load, dtype: str, tolerance: float) -> None:
        assert 0 < furthest(answers(load(dtype=dtype), pairs()), answers(load(), pairs())) < tolerance
        texts_alone = texts()[:-1]
        assert furthest(answers(load(dtype=dtype), texts_alone), answers(load(), texts_alone)) < tolerance

    def test_both_count(self, folders: Folders) -> None:
        assert len({fingerprint(folders(), dtype=dtype) for dtype in ("float32", "bfloat16", "float16")}) == 3


class TestCompiled:
    def test_scores_are_the_same(self, tmp_path: Path) -> None:
        folder = kinds.save_llama(tmp_path, "shallow")
        # Of one shape, for every further one may be compiled anew.
        requests = [Request("loglikelihood", context, " yes") for context in ("the cat sat", "the dog sat")]
        assert furthest(asked(folder, requests, compile=True), asked(folder, requests)) < 1e-5

    def test_it_counts(self, folders: Folders) -> None:
        assert fingerprint(folders(), compile=True) != fingerprint(folders())

    def test_a_compiler_that_fails_is_said_at_once(self, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no C++ compiler")

        monkeypatch.setattr(importlib.import_module("torch._inductor.compile_fx"), "compile_fx", broken)
        torch._dynamo.reset()
        with pytest.raises(BackendError, match="could not be compiled") as caught:
            backend(folders("gpt2"), compile=True).load()
        assert "compile = false" in (caught.value.hint or "")


class TestSpread:
    @pytest.mark.parametrize("architecture", ["llama", "t5"])
    def test_weights_on_a_disk(self, folders: Folders, load: Load, tmp_path: Path, architecture: str) -> None:
        folder = folders(architecture)
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        spread = {"device_map": "auto", "max_memory": {"cpu": size * 3 // 4}, "offload_folder": str(tmp_path)}
        made = HfBackend(ModelSpec("m", "hf", str(folder), spread))
        made.load()
        places = set(parts(made)[0].hf_device_map.values())
        assert places == {"cpu", "disk"}
        assert made.usage().device == "cpu"
        for requests in (pairs(6), texts(), prompts(4)):
            assert answers(made, requests) == answers(load(architecture, prefix_sharing="off"), requests)
        assert made.identify() == backend(folder).identify()


class TestAdapter:
    @pytest.fixture(scope="class")
    def adapter(self, folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
        pytest.importorskip("peft")
        return kinds.save_adapter(folders(), tmp_path_factory.mktemp("adapter"))

    def test_scores_are_those_of_the_merged_model(self, folders: Folders, adapter: Path, tmp_path: Path) -> None:
        import peft
        import transformers

        base = transformers.AutoModelForCausalLM.from_pretrained(folders())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            merged = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload()
        shutil.copytree(folders(), tmp_path / "merged")
        merged.save_pretrained(tmp_path / "merged")
        found = asked(folders(), pairs(), adapter=str(adapter))
        assert furthest(found, asked(tmp_path / "merged", pairs())) < 1e-4
        assert furthest(found, asked(folders(), pairs())) > 0.1

    def test_its_weights_and_its_configuration_count(self, folders: Folders, adapter: Path, tmp_path: Path) -> None:
        known = {fingerprint(folders()), fingerprint(folders(), adapter=str(adapter))}
        copy = tmp_path / "copy"
        shutil.copytree(adapter, copy)
        assert fingerprint(folders(), adapter=str(copy)) in known
        config = copy / "adapter_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "lora_alpha": 1}))
        known.add(fingerprint(folders(), adapter=str(copy)))
        weights = copy / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
        known.add(fingerprint(folders(), adapter=str(copy)))
        assert len(known) == 4

    @pytest.mark.parametrize("architecture", ["gpt2", "wide", "deep", "shallow"])
    def test_one_of_another_model_is_refused(
        self, folders: Folders, tmp_path: Path, adapter: Path, architecture: str
    ) -> None:
        other = folders("gpt2") if architecture == "gpt2" else kinds.save_llama(tmp_path, architecture)
        with pytest.raises(BackendError, match="does not fit") as caught:
            backend(other, adapter=str(adapter)).load()
        assert str(folders()) in (caught.value.hint or "")

    def test_one_given_as_the_model_says_how_it_is_meant(self, adapter: Path, folders: Folders) -> None:
        with pytest.raises(BackendError, match="adapter, not a model") as caught:
            backend(adapter).identify()
        assert caught.value.hint == f'model = "{folders()}", adapter = "{adapter}"'

    def test_what_is_none_is_said_before_loading(self, folders: Folders, adapter: Path, tmp_path: Path) -> None:
        with pytest.raises(BackendError, match=r"no adapter_config\.json"):
            backend(folders(), adapter=str(folders())).identify()
        (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        with pytest.raises(BackendError, match="no adapter weights"):
            backend(folders(), adapter=str(tmp_path)).identify()
        (tmp_path / "adapter_config.json").write_text('{"peft_type": "PREFIX_TUNING"}')
        with pytest.raises(BackendError, match="before the prompt"):
            backend(folders(), adapter=str(tmp_path)).identify()


class TestDelta:
    def test_the_sum_is_what_is_asked(self, folders: Folders, tmp_path: Path) -> None:
        delta, total = kinds.save_delta(folders(), tmp_path)
        assert asked(folders(), pairs(6), delta=str(delta)) == asked(total, pairs(6))

    def test_it_counts(self, folders: Folders, tmp_path: Path) -> None:
        delta, total = kinds.save_delta(folders(), tmp_path)
        names = {
            fingerprint(folders()),
            fingerprint(folders(), delta=str(delta)),
            fingerprint(folders(), delta=str(total)),
        }
        assert len(names) == 3

    @pytest.mark.parametrize("shape", ["wide", "shallow"])
    def test_one_of_another_model_is_refused(self, folders: Folders, tmp_path: Path, shape: str) -> None:
        with pytest.raises(BackendError, match=r"the delta .* does not fit"):
            backend(folders(), delta=str(kinds.save_llama(tmp_path, shape))).load()


class TestGguf:
    @pytest.fixture(scope="class")
    def folder(self, folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
        pytest.importorskip("gguf")
        folder = tmp_path_factory.mktemp("gguf")
        kinds.save_gguf(folders("qwen2", "bytes"), folder / "model.gguf")
        return folder

    def test_weights_tokenizer_and_length_come_from_the_file(self, folder: Path, load: Load) -> None:
        made = backend(folder, gguf_file="model.gguf")
        made.load()
        assert made.usage().facts["max_length"] == 128
        assert furthest(answers(made, pairs(8)), answers(load("qwen2", "bytes"), pairs(8))) < 1e-5
        found, known = answers(made, prompts(4)), answers(load("qwen2", "bytes"), prompts(4))
        assert [a.text for a in found.values()] == [a.text for a in known.values()]

    def test_quantised_weights(self, folder: Path, folders: Folders, load: Load) -> None:
        kinds.save_gguf(folders("qwen2", "bytes"), folder / "small.gguf", quantised=True)
        found = asked(folder, pairs(8), gguf_file="small.gguf")
        assert 1e-4 < furthest(found, answers(load("qwen2", "bytes"), pairs(8))) < 0.5
        assert fingerprint(folder, gguf_file="small.gguf") != fingerprint(folder, gguf_file="model.gguf")

    def test_a_slip_of_the_pen(self, folder: Path) -> None:
        with pytest.raises(BackendError, match=r"no modell\.gguf") as caught:
            backend(folder, gguf_file="modell.gguf").identify()
        assert "model.gguf" in (caught.value.hint or "")


class TestQuantised:
    @pytest.mark.parametrize(("quantization", "tolerance"), [("int8", 0.3), ("nf4", 3.0), ("fp4", 3.0)])
    def test_scores_are_near(self, folders: Folders, load: Load, quantization: str, tolerance: float) -> None:
        pytest.importorskip("bitsandbytes", reason="its wheel (43 MB) is no part of the development environment")
        found = asked(folders(), pairs(6), quantization=quantization)
        assert 1e-3 < furthest(found, answers(load(), pairs(6))) < tolerance
        assert [a.error for a in asked(folders(), prompts(3), quantization=quantization).values()] == [None] * 3

    def test_a_checkpoint_that_is_quantised(self, folders: Folders, tmp_path: Path) -> None:
        pytest.importorskip("bitsandbytes", reason="its wheel (43 MB) is no part of the development environment")
        made = backend(folders(), quantization="nf4")
        made.load()
        shutil.copytree(folders(), tmp_path / "saved")
        parts(made)[0].save_pretrained(tmp_path / "saved")
        assert asked(tmp_path / "saved", pairs(4)) == answers(made, pairs(4))

    def test_it_counts(self, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "_is_installed", lambda _: True)
        names = {fingerprint(folders(), quantization=q) for q in (None, "int8", "nf4", "fp4")}
        assert len(names) == 4

    def test_without_kernels_for_this_device(self, folders: Folders, tmp_path: Path) -> None:
        if torch.cuda.is_available():
            pytest.skip("a GPU has these kernels")
        shutil.copytree(folders(), tmp_path / "quantised")
        config = tmp_path / "quantised" / "config.json"
        quantised = {"quant_method": "spqr"}
        config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": quantised}))
        with pytest.raises(BackendError) as caught:
            backend(tmp_path / "quantised").load()
        assert "no kernels" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("options", "config", "package", "extra"),
    [
        ({"adapter": "x"}, {}, "peft", '"lmrun[peft]"'),
        ({"gguf_file": "x.gguf"}, {}, "gguf", '"lmrun[gguf]"'),
        ({"quantization": "nf4"}, {}, "bitsandbytes", '"lmrun[bitsandbytes]"'),
        ({"device_map": "auto"}, {}, "accelerate", '"lmrun[hf]"'),
        ({}, {"quant_method": "gptq"}, "gptqmodel", "gptqmodel"),
        ({}, {"quant_method": "awq"}, "gptqmodel", "gptqmodel"),
        ({}, {"quant_method": "compressed-tensors"}, "compressed-tensors", "compressed-tensors"),
        ({}, {"load_in_4bit": True}, "bitsandbytes", '"lmrun[bitsandbytes]"'),
    ],
)
def test_a_missing_package_is_said_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], config: dict[str, Any], package: str, extra: str
) -> None:
    from lmrun.backends.hf.options import HfOptions

    monkeypatch.setattr(packages, "_is_installed", lambda module: module.replace("_", "-") != package)
    with pytest.raises(BackendError, match=f"needs {package}, not installed") as caught:
        packages.check_packages(HfOptions(**options), {"quantization_config": config} if config else {})
    assert caught.value.hint == f"pip install {extra}"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"quantization": "int4"}, "quantization is 'int4'"),
        ({"max_memory": {"cpu": "1GB"}}, "max_memory needs device_map"),
        ({"offload_folder": "x"}, "offload_folder needs device_map"),
        ({"adapter": "a", "delta": "b"}, "adapter and delta exclude each other"),
        ({"quantization": "int8", "delta": "b"}, "quantization and delta exclude"),
        ({"quantization": "int8", "gguf_file": "b"}, "quantization and gguf_file exclude"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(BackendError, match=problem):
        backend("nowhere", **options)
