"""Dataset sources: hub, local files, offline mirror."""

from lmrun.data.docs import Docs
from lmrun.data.source import DataSource
from lmrun.data.split import DatasetSpec, Split

__all__ = ["DataSource", "DatasetSpec", "Docs", "Split"]
