"""Where a model's files are: a folder, or a commit on the hub. Loads no weights and imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lmrun import bundled
from lmrun.backends import fingerprint as files
from lmrun.errors import BackendError

_BUNDLED = "bundled:demo"


@dataclass(frozen=True, slots=True)
class Source:
    """A model, pinned."""

    name: str
    """What ``from_pretrained`` gets: a folder, or a hub id."""
    folder: Path
    """Where configuration and tokenizer files are."""
    commit: str | None = None
    """The hub commit; None for a local folder."""
    offline: bool = False

    @property
    def load_options(self) -> dict[str, object]:
        """What every ``from_pretrained`` of this source gets."""
        pinned = {"revision": self.commit} if self.commit else {}
        return {**pinned, "local_files_only": self.offline or self.commit is None}


def locate(model: str, revision: str | None, offline: bool) -> Source:
    """Find a model by path, hub id or ``bundled:demo``.

    Of a hub model everything but the weights is fetched, unless ``offline`` (or ``HF_HUB_OFFLINE`` in the environment).

    Raises:
        BackendError: there is no such model; says where it was looked for.
    """
    if model == _BUNDLED:
        return _folder(bundled.demo_model_dir())
    path = Path(model).expanduser()
    if path.is_dir() or model.startswith(("/", ".", "~")):
        return _folder(path)
    return _hub(model, revision, offline)


def _folder(path: Path) -> Source:
    if not path.is_dir():
        raise BackendError(
            f"there is no model folder {path}", hint="a local model is a folder as `save_pretrained` writes it"
        )
    return Source(str(path), path, offline=True)


def _hub(model: str, revision: str | None, offline: bool) -> Source:
    import huggingface_hub as hub
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    offline = offline or hub.constants.HF_HUB_OFFLINE
    disable_progress_bars()
    try:
        folder = hub.snapshot_download(
            model, revision=revision, allow_patterns=list(files.SMALL_FILES), local_files_only=offline
        )
    except HFValidationError as error:
        raise BackendError(
            f"{model!r} is neither a folder nor a hub id", hint='a hub id is "organisation/name"; a path starts with /'
        ) from error
    except (OSError, ValueError) as error:
        # Everything that the hub raises is one of these, and so are a broken network and an unreadable cache.
        _explain(error, model, revision, offline)
    return Source(model, Path(folder), commit=Path(folder).name, offline=offline)


def _explain(error: Exception, model: str, revision: str | None, offline: bool) -> NoReturn:
    from huggingface_hub import errors
    from huggingface_hub.constants import HF_HUB_CACHE

    at = f" at revision {revision}" if revision else ""
    cached = Path(HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
    if offline:
        raise BackendError(
            f"{model}{at} is not on this machine, and no connection may be opened",
            hint=f"looked in {cached}; fetch it where there is a network (`hf download {model}`), copy that folder "
            "here, or give the path of a local copy as `model`",
        ) from error
    if isinstance(error, errors.GatedRepoError):
        message, hint = f"{model} is gated", f"accept its terms at https://huggingface.co/{model}, then set HF_TOKEN"
    elif isinstance(error, errors.RevisionNotFoundError):
        message, hint = f"{model} has no revision {revision!r}", "a branch, tag or full commit hash of the model"
    elif isinstance(error, errors.RepositoryNotFoundError):
        message = f"there is no model {model} on the hub, or it is private"
        hint = f"check the spelling, or set HF_TOKEN{'' if os.environ.get('HF_TOKEN') else ' (not set now)'}"
    else:
        message, hint = (
            f"{model}{at} could not be fetched: {error}",
            f"is the hub reachable? looked in {cached} as well",
        )
    raise BackendError(message, hint=hint) from error
