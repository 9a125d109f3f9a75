"""Deleting a run from the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from lmrun.engine.open import hold
from lmrun.errors import RunError
from lmrun.store.runs import RunDirectory, run_folders


def remove_run(run: RunDirectory, runs_dir: Path) -> None:
    """Delete the folder of a run and everything in it; what links in it lead to stays.

    Raises:
        RunError: if it is no folder of a run directly in ``runs_dir``, an engine works on it, or it cannot be deleted.
    """
    if run.path.is_symlink() or run.path.resolve() not in {known.path.resolve() for known in run_folders(runs_dir)}:
        raise RunError(f"{run.path} is no folder of a run in {runs_dir}", hint="delete it by hand")
    # Under another name it is no run any more, so that none is ever seen of which half is gone.
    doomed = run.path.with_name(f".deleted-{run.id}")
    try:
        with hold(run):
            run.path.rename(doomed)
            shutil.rmtree(doomed)
    except OSError as error:
        raise RunError(f"{run.id} cannot be deleted: {error.strerror}", hint="is the folder writable?") from error
