"""Do explanations name what matters, and do they say different things?

The measures of explainable recommendation, from 0 to 1 but for DIV:

  USR  unique sentence ratio: different explanations by all explanations
  FMR  feature matching ratio: explanations that name the feature of their
       example (Li, Zhang, Chen, "Generate neural template explanations for
       recommendation", CIKM 2020)
  FCR  feature coverage ratio: features that any explanation names, by all
  DIV  feature diversity: how many features two explanations have in common,
       the mean over all pairs; LOWER is more diverse

all four as in Li, Zhang, Chen, "Personalized transformer for explainable
recommendation" (PETER), ACL 2021. BLEU and ROUGE are in text.py.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

from genrec_jax.ids.textual import words
from genrec_jax.types import GenrecError


def explanation_metrics(
  generated: Sequence[str],
  all_features: Iterable[str],
  features: Sequence[str | None] | None = None,
) -> dict[str, float]:
  """Returns `usr`, `fcr`, `div` and, where features are given, `fmr`.

  An explanation names a feature if it holds its words, next to each other and
  in order, whatever the case; a plural is another word.

  Args:
    generated: the explanations, at least two.
    all_features: what there is to name: the features of the data set.
    features: the one that each explanation is to name, None where there is
      none; FMR is the share among the others, `fmr_n` of them.

  Returns:
    These, `n` explanations, and the `num_features` that there are to name.

  Raises:
    GenrecError: if there are too few explanations, no features, or not a
      feature each.
  """
  count = len(generated)
  if count < 2:
    raise GenrecError(
      f'Got {count} explanations, expected at least 2; diversity compares them.'
    )
  known = {tuple(words(feature)) for feature in all_features} - {()}
  if not known:
    raise GenrecError(
      'Got no features, expected those of the data set; without any, measure'
      ' texts alone (evaluation/text.py).'
    )
  wanted = [None] * count if features is None else features
  if len(wanted) != count:
    raise GenrecError(
      f'Got {len(wanted)} features for {count} explanations; expected one'
      ' each, None where there is none.'
    )
  wanted = [tuple(words(feature or '')) for feature in wanted]
  named = named_features(generated, known | set(wanted))
  examples = collections.Counter(
    feature for found in named for feature in found & known
  )
  result = {
    'n': count,
    'num_features': len(known),
    'usr': len({' '.join(text.split()) for text in generated}) / count,
    'fcr': len(examples) / len(known),
    # A feature that c explanations name is common to c (c - 1) / 2 pairs.
    'div': sum(c * (c - 1) for c in examples.values()) / (count * (count - 1)),
  }
  hits = [feature in found for feature, found in zip(wanted, named) if feature]
  if hits:
    result |= {'fmr_n': len(hits), 'fmr': sum(hits) / len(hits)}
  return result


def named_features(
  texts: Sequence[str], features: set[tuple[str, ...]]
) -> list[set[tuple[str, ...]]]:
  """Returns the features, as words, that each text names."""
  lengths = {len(feature) for feature in features}
  named = []
  for text in texts:
    found = words(text)
    runs = {
      tuple(found[start : start + length])
      for length in lengths
      for start in range(len(found) - length + 1)
    }
    named.append(runs & features)
  return named
