"""BLEU, chrF and TER through sacrebleu: counts are taken once for each doc, resamples only add them up."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lmrun.errors import TaskError
from lmrun.scoring.aggregations import Aggregation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmrun.stats.bootstrap import Resamples

PACKAGE = "sacrebleu"
CORPUS_AGGREGATIONS = ("bleu", "chrf", "chrf++", "ter")


def is_installed() -> bool:
    """Whether these aggregations can be computed here."""
    return find_spec(PACKAGE) is not None


class CorpusScore(Aggregation):
    """A corpus score of pairs (reference or list of references, prediction), with sacrebleu's defaults.

    If docs have different numbers of references, only as many count as every doc of the (re)sample has: that is what
    lm-eval's transposed reference streams amount to.
    """

    stderr_rule = "bootstrap"

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        import numpy as np

        super().__init__(values)
        self._metric = _sacrebleu_metric(name)
        self._predictions = [_single(prediction) for _, prediction in values]
        self._references = [_texts(reference) for reference, _ in values]
        self._reference_counts = np.array([len(texts) for texts in self._references])
        self._statistics: dict[int, NDArray[np.float64]] = {}

    def value(self) -> float:
        """See :class:`Aggregation`."""
        import numpy as np

        return self.resampled(np.arange(len(self.values))[None, :])[0]

    def resampled(self, rows: Resamples) -> Sequence[float]:
        """See :class:`Aggregation`."""
        scores = []
        for row in rows:
            counts = self._counts(int(self._reference_counts[row].min()))[row]
            # From left to right, as sacrebleu adds: TER's reference lengths are not whole numbers.
            total = counts.cumsum(axis=0)[-1].tolist()
            scores.append(float(self._metric._compute_score_from_stats(total).score))
        return scores

    def _counts(self, n_references: int) -> NDArray[np.float64]:
        """What sacrebleu counts in each doc that has that many references.

        The two methods of sacrebleu used here are not documented, but its own significance tests stand on them. Whole
        numbers stay whole.
        """
        import numpy as np

        if n_references not in self._statistics:
            docs = [i for i, texts in enumerate(self._references) if len(texts) >= n_references]
            streams = [[self._references[i][r] for i in docs] for r in range(n_references)]
            found = np.array(self._metric._extract_corpus_statistics([self._predictions[i] for i in docs], streams))
            table = np.zeros((len(self.values), found.shape[1]), dtype=found.dtype)
            table[docs] = found
            self._statistics[n_references] = table
        return self._statistics[n_references]


def _sacrebleu_metric(name: str) -> Any:
    try:
        from sacrebleu.metrics import BLEU, CHRF, TER
    except ImportError as error:
        raise TaskError(f"the metric {name} needs the package {PACKAGE}", hint='pip install "lmrun[tasks]"') from error
    return {"bleu": BLEU, "chrf": CHRF, "chrf++": lambda: CHRF(word_order=2), "ter": TER}[name]()


def _single(prediction: Any) -> str:
    if isinstance(prediction, list | tuple) and len(prediction) == 1:
        prediction = prediction[0]
    if not isinstance(prediction, str):
        raise ValueError(f"each doc needs one text as its answer, one has {prediction!r}")
    return prediction


def _texts(reference: Any) -> list[str]:
    texts = [reference] if isinstance(reference, str) else reference
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"each doc needs a text or several as its target, one has {reference!r}")
    return list(texts)
