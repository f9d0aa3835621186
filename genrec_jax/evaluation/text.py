"""How near generated texts come to the true ones, and how varied they are.

BLEU and ROUGE differ by implementation, tokenizer and smoothing: numbers are
sacrebleu's and rouge-score's, and a result names their versions and settings.
Both are in percent, as tables in this field have them. An answer that is no
text is an empty one (`outputs.texts`): it counts, and gets nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
from jaxtyping import Float

from genrec_jax.ids.textual import words
from genrec_jax.types import GenrecError

BLEU_ORDERS = (1, 2, 3, 4)
_ROUGE = {'rouge1': 'rouge_1', 'rouge2': 'rouge_2', 'rougeL': 'rouge_l'}


def text_metrics(
  generated: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
  """Returns `n`, BLEU, ROUGE and distinct n-grams, and their `settings`.

  `empty_share` is that of texts which are blank.
  """
  overlaps = example_rouge(generated, references)
  scores, signature = bleu(generated, references)
  version = metadata.version('rouge-score')
  return {
    'n': len(generated),
    'empty_share': sum(not text.strip() for text in generated) / len(generated),
    **scores,
    **{name: float(values.mean()) for name, values in overlaps.items()},
    **distinct_ngrams(generated),
    'settings': {
      'bleu': signature,
      'rouge': f'F1|mean:texts|stemmer:no|tok:a-z0-9|version:{version}',
    },
  }


def bleu(
  generated: Sequence[str], references: Sequence[str]
) -> tuple[dict[str, float], str]:
  """Returns `bleu_1` to `bleu_4` of the corpus, from 0 to 100.

  BLEU-n (Papineni et al. 2002) is the brevity penalty times the geometric mean
  of the precisions of 1-grams up to n-grams, counted over all texts; there is
  one reference each.

  Returns:
    The scores, and sacrebleu's signature of how they were made (Post 2018).

  Raises:
    GenrecError: if there are no texts or not a reference each, or sacrebleu is
      not installed.
  """
  _check_pairs(generated, references)
  sacrebleu = import_library('sacrebleu')
  metric = sacrebleu.BLEU(max_ngram_order=max(BLEU_ORDERS))
  counted = metric.corpus_score(list(generated), [list(references)])
  # The counts up to the longest n-grams contain those of the shorter.
  scores = {
    f'bleu_{order}': metric.compute_bleu(
      counted.counts[:order],
      counted.totals[:order],
      counted.sys_len,
      counted.ref_len,
      smooth_method=metric.smooth_method,
      max_ngram_order=order,
    ).score
    for order in BLEU_ORDERS
  }
  return scores, str(metric.get_signature())


def example_rouge(
  generated: Sequence[str], references: Sequence[str]
) -> dict[str, Float[np.ndarray, 'E']]:
  """Returns `rouge_1`, `rouge_2` and `rouge_l` of each text, from 0 to 100.

  F1 of the overlap of 1-grams, of 2-grams, and of the longest common
  subsequence (Lin 2004), without stemming. rouge-score's words are runs of a-z
  and 0-9 in lower case: texts in other scripts have none, and score 0.

  Raises:
    GenrecError: as `bleu`, of rouge-score.
  """
  _check_pairs(generated, references)
  library = import_library('rouge_score.rouge_scorer')
  scorer = library.RougeScorer(list(_ROUGE), use_stemmer=False)
  scores = [
    scorer.score(reference, text)
    for text, reference in zip(generated, references)
  ]
  return {
    name: 100 * np.array([score[kind].fmeasure for score in scores])
    for kind, name in _ROUGE.items()
  }


def distinct_ngrams(generated: Sequence[str]) -> dict[str, float]:
  """Returns `distinct_1`, `distinct_2` and `words`, the mean of a text.

  The number of different words (pairs of neighbouring words) in all texts
  together, by the number of words (Li et al., "A diversity-promoting objective
  function for neural conversation models", 2016); from 0 to 1, and lower the
  more texts there are.
  """
  if not generated:
    raise GenrecError('Got no texts; there is nothing to measure.')
  single, pairs, total = set(), set(), 0
  for text in generated:
    found = words(text)
    single.update(found)
    pairs.update(zip(found, found[1:]))
    total += len(found)
  return {
    'distinct_1': len(single) / max(1, total),
    'distinct_2': len(pairs) / max(1, total),
    'words': total / len(generated),
  }


def import_library(module: str) -> Any:
  """Imports a module of the `text` extra, or says how to install it."""
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    raise GenrecError(
      f'Measuring texts needs {error.name}, which is not installed; run'
      " pip install 'genrec_jax[text]' (or '.[text]' in a checkout)."
    ) from error


def _check_pairs(generated: Sequence[str], references: Sequence[str]) -> None:
  if not len(generated) or len(generated) != len(references):
    raise GenrecError(
      f'Got {len(generated)} texts and {len(references)} references; expected'
      ' at least one, and a reference each.'
    )
