"""Who a model is, found from its files without torch; and what is said when it cannot be found or loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmrun.backends import fingerprint
from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend
from lmrun.backends.hf.identify import resolve_dtype, stated_max_length
from lmrun.errors import BackendError
from lmrun.requests import Request
from tests.backends import make

Folders = Callable[..., Path]


def backend(model: Path | str, offline: bool = False, **options: Any) -> HfBackend:
    return HfBackend(ModelSpec("m", "hf", str(model), options, offline))


def hash_of(model: Path, **options: Any) -> str:
    return backend(model, **options).identify().fingerprint


@pytest.fixture
def folder(folders: Folders, tmp_path: Path) -> Path:
    """A copy of a model, to be changed."""
    shutil.copytree(folders("llama", "bytes-bos", chat_template=make.CHAT_TEMPLATE), tmp_path / "model")
    return tmp_path / "model"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestFingerprint:
    def test_place_device_and_batches_are_no_part_of_it(self, folder: Path, folders: Folders) -> None:
        original = hash_of(folders("llama", "bytes-bos", chat_template=make.CHAT_TEMPLATE))
        assert hash_of(folder) == original
        assert hash_of(folder, device="cpu", batch_tokens=7) == original

    def test_every_option_that_can_change_an_answer_is(self, folder: Path, folders: Folders) -> None:
        options: list[dict[str, Any]] = [
            {},
            {"dtype": "bfloat16"},
            {"max_length": 64},
            {"add_bos_token": False},
            {"attn_implementation": "eager"},
            {"trust_remote_code": True},
            {"tokenizer": str(folders("llama", "bytes"))},
        ]
        assert len({hash_of(folder, **o) for o in options}) == len(options)

    def test_weights_saved_again_in_place_are_another_model(self, folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        before = hash_of(folder)
        path = folder / "model.safetensors"
        size = path.stat().st_size
        tensors = load_file(path)
        name = next(iter(tensors))
        save_file({**tensors, name: tensors[name] + 0.5}, path, metadata={"format": "pt"})
        assert path.stat().st_size == size
        assert hash_of(folder) != before

    @pytest.mark.parametrize(
        ("file", "changes"),
        [
            ("config.json", {"rms_norm_eps": 0.1}),
            ("generation_config.json", {"repetition_penalty": 1.3}),
            ("tokenizer_config.json", {"bos_token": "<|end|>"}),
        ],
    )
    def test_other_files_count_too(self, folder: Path, file: str, changes: dict[str, Any]) -> None:
        before = hash_of(folder)
        edit(folder / file, **changes)
        assert hash_of(folder) != before

    def test_the_chat_template_counts_wherever_it_is(self, folder: Path, tmp_path: Path) -> None:
        before = backend(folder).identify().facts["chat_template"]
        (tmp_path / "other.jinja").write_text("{{ messages }}")
        by_option = backend(folder, chat_template=str(tmp_path / "other.jinja")).identify().facts["chat_template"]
        (folder / "chat_template.jinja").write_text("{{ messages[0] }}")
        by_file = backend(folder).identify().facts["chat_template"]
        assert len({before, by_option, by_file}) == 3

    def test_dtype_and_length_are_resolved(self, folder: Path) -> None:
        facts = backend(folder).identify().facts
        assert (facts["dtype"], facts["max_length"]) == ("float32", 128)
        assert resolve_dtype("auto", {"torch_dtype": "bfloat16"}) == "bfloat16"
        assert resolve_dtype("auto", {"text_config": {"dtype": "float16"}}) == "float16"
        assert resolve_dtype("auto", {}) == "float32"

    def test_the_tokenizer_states_the_length_where_the_model_does_not(self, tmp_path: Path) -> None:
        assert stated_max_length({}, tmp_path) == 2048
        (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 512}')
        assert stated_max_length({}, tmp_path) == 512
        (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
        assert stated_max_length({}, tmp_path) == 2048
        assert stated_max_length({"text_config": {"n_ctx": 9}, "n_positions": 5}, tmp_path) == 9

    def test_shards_count_with_their_index(self, folder: Path) -> None:
        import transformers

        model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="100KB")
        names = [p.name for p in fingerprint.weight_files(folder)]
        assert names[0] == "model.safetensors.index.json"
        assert len(names) > 2
        before = hash_of(folder)
        shard = folder / names[-1]
        shard.write_bytes(shard.read_bytes()[:-1] + b"\1")
        assert hash_of(folder) != before

    def test_no_torch_is_needed(self, folder: Path) -> None:
        code = (
            "import sys\nfrom lmrun.backends.base import ModelSpec\nfrom lmrun.backends.hf import HfBackend\n"
            f"HfBackend(ModelSpec('m', 'hf', {str(folder)!r})).identify()\n"
            "sys.exit(', '.join({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)) or 0)"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""


class TestHashCache:
    def age(self, path: Path, seconds: float) -> None:
        state = path.stat()
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - int(seconds * 1e9)))

    def test_an_unchanged_file_is_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []

        def counting(path: Path) -> str:
            read.append(path.name)
            return "0" * 64

        monkeypatch.setattr(fingerprint, "hash_file", counting)
        monkeypatch.setattr(fingerprint, "_SETTLED_NS", -1)
        (tmp_path / "a.safetensors").write_bytes(b"weights")
        for _ in range(3):
            fingerprint.hash_files([tmp_path / "a.safetensors"], fingerprint.HashCache(tmp_path / "hashes.json"))
        assert read == ["a.safetensors"]

    def test_a_file_written_a_moment_ago_is_not_remembered(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"weights")
        cache = fingerprint.HashCache(tmp_path / "hashes.json")
        cache.get(tmp_path / "a")
        cache.save()
        assert not (tmp_path / "hashes.json").exists()

    def test_an_old_time_put_back_does_not_hide_a_change(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fingerprint, "_SETTLED_NS", -1)
        path = tmp_path / "a"
        path.write_bytes(b"weights")
        stamp = path.stat().st_mtime_ns
        cache = fingerprint.HashCache(tmp_path / "hashes.json")
        before = fingerprint.hash_files([path], cache)
        path.write_bytes(b"changed")
        os.utime(path, ns=(stamp, stamp))
        assert fingerprint.hash_files([path], cache) != before

    def test_a_broken_cache_and_one_that_cannot_be_written_are_no_obstacle(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"weights")
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / "file").write_text("")
        expected = fingerprint.hash_files([tmp_path / "a"])
        for name in ("broken.json", "file/below/a/file.json"):
            assert fingerprint.hash_files([tmp_path / "a"], fingerprint.HashCache(tmp_path / name)) == expected


class TestNotThere:
    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BackendError, match="no model folder"):
            backend(tmp_path / "nothing").identify()

    def test_a_folder_without_configuration_weights_or_with_an_adapter(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(BackendError, match="no weights"):
            backend(folder).identify()
        (folder / "config.json").unlink()
        with pytest.raises(BackendError, match=r"no config\.json"):
            backend(folder).identify()
        (folder / "adapter_config.json").write_text("{}")
        with pytest.raises(BackendError, match="adapter"):
            backend(folder).identify()

    def test_an_index_that_names_a_missing_shard(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(BackendError, match="model-00002-of-00002"):
            backend(folder).identify()

    def test_offline_names_the_folder_that_was_looked_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(BackendError, match="not on this machine") as caught:
            backend("org/model", offline=True).identify()
        assert str(tmp_path / "models--org--model") in (caught.value.hint or "")

    def test_neither_path_nor_id(self) -> None:
        with pytest.raises(BackendError, match="neither a folder nor a hub id"):
            backend("a/b/c", offline=True).identify()


def hub_cache(root: Path, source: Path, commit: str) -> None:
    """The layout of the hub's local cache."""
    repo = root / "models--org--model"
    shutil.copytree(source, repo / "snapshots" / commit)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)


def test_a_cached_hub_model_is_pinned_to_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub as hub

    first, second = "a" * 40, "b" * 40
    real = hub.snapshot_download
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: real(*a, cache_dir=tmp_path / "hub", **k))
    hub_cache(tmp_path / "hub", folder, first)
    identity = backend("org/model", offline=True).identify()
    assert (identity.facts["model"], identity.facts["revision"]) == ("org/model", first)
    hub_cache(tmp_path / "hub", folder, second)
    assert backend("org/model", offline=True).identify().facts["revision"] == second
    assert backend("org/model", offline=True, revision=first).identify() == identity
    with pytest.raises(BackendError, match="at revision nope is not on this machine"):
        backend("org/model", offline=True, revision="nope").identify()


class TestLoading:
    def test_a_gpu_that_is_not_there_is_an_error_and_never_a_cpu(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        for device in ("cuda", "cuda:3"):
            with pytest.raises(BackendError, match=f"device {device} was asked for"):
                backend(folder, device=device).load()

    def test_options_are_checked(self, folder: Path) -> None:
        with pytest.raises(BackendError) as caught:
            backend(folder, batch_token=3)
        assert caught.value.hint == 'did you mean "batch_tokens"?'
        for wrong in (
            {"dtype": "int3"},
            {"device": "gpu"},
            {"batch_tokens": 0},
            {"device": "cpu", "device_map": "auto"},
        ):
            with pytest.raises(BackendError):
                backend(folder, **wrong)

    def test_a_broken_file_is_explained(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"not weights")
        with pytest.raises(BackendError, match="could not be loaded"):
            backend(folder, device="cpu").load()

    def test_an_unknown_architecture_is_explained(self, folder: Path) -> None:
        edit(folder / "config.json", model_type="frobnicator", architectures=["Frobnicator"])
        with pytest.raises(BackendError, match="could not be loaded") as caught:
            backend(folder, device="cpu").load()
        assert "transformers" in (caught.value.hint or "")

    def test_a_model_that_is_not_loaded_answers_nothing(self, folder: Path) -> None:
        with pytest.raises(BackendError, match="not loaded"):
            backend(folder).run([Request("loglikelihood", "a", "b")])

    def test_loading_says_nothing_on_the_terminal(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        made = backend(folder, device="cpu", dtype="bfloat16")
        made.load()
        list(made.run([Request("generate_until", "the " * 300, generation={"max_gen_toks": 3, "top_p": 0.5})]))
        assert capfd.readouterr() == ("", "")
        usage = made.usage()
        assert (usage.device, usage.facts["dtype"]) == ("cpu", "bfloat16")
        assert usage.phase == "1/1 answers, 0 at once, 3 tokens"
        made.close()

    def test_a_device_map_places_the_model(self, folder: Path) -> None:
        pytest.importorskip("accelerate")
        made = backend(folder, device_map={"": "cpu"})
        made.load()
        assert len([r for chunk in made.run([Request("loglikelihood", "the", " cat")]) for r in chunk]) == 1

    @pytest.mark.parametrize(
        "options",
        [
            {"device_map": "cuda:900"},
            {"device_map": {"": 900}},
            {"device_map": "auto", "max_memory": {"900": "1GB", "cpu": "1GB"}},
        ],
    )
    def test_devices_that_are_not_here_are_named(self, folder: Path, options: dict[str, Any]) -> None:
        pytest.importorskip("accelerate")
        with pytest.raises(BackendError, match="device cuda:900 was asked for, and it is not here"):
            backend(folder, **options).load()

    def test_a_named_template_file_is_used(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.jinja").write_text("mine: {{ messages[-1]['content'] }}")
        made = backend(folder, device="cpu", chat_template=str(tmp_path / "mine.jinja"))
        made.load()
        assert made._loaded is not None
        assert made._loaded.encoder.tokenizer.chat_template.startswith("mine")
