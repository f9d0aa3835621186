"""What texts claim of items, against what is known of them.

A catalogue's metadata (categories, brands, genres) are the words that a text
can be held to: where it names one of them, it claims it of the item that it
speaks of. A claim is false if nothing known of that item says so. That is a
coarse measure: 'unlike the cheap plastic ones' claims no plastic, and metadata
have gaps. So true texts are measured in the same way, and say how far the
measure itself is wrong (compare Rohrbach et al., "Object hallucination in
image captioning", EMNLP 2018, whose CHAIR counts objects so).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from genrec_jax.evaluation.significance import ratio_bootstrap
from genrec_jax.ids.textual import words
from genrec_jax.types import GenrecError

Phrase = tuple[str, ...]
SHORTEST = 3  # letters of a name's longest word; 'S' or '80' claim nothing
LONGEST = 8  # words of a name; longer ones are sentences
_WORD = re.compile(r'\w+')


class ClaimVocabulary:
  """The names that texts can be held to, and what is known of each item.

  Args:
    names: what there is to claim, such as the attributes of all items.
    known: of each of N items the texts that say what it is: its attributes,
      its title. A name holds of an item if these hold its words, next to each
      other and in order, whatever the case.
    ignore: words that are no claim by themselves, such as 'one'.

  Raises:
    GenrecError: if no name is left.
  """

  def __init__(
    self,
    names: Iterable[str],
    known: Sequence[Sequence[str]],
    *,
    ignore: Iterable[str] = (),
  ):
    ignored = set(ignore)
    phrases = {tuple(words(name)) for name in names}
    self.phrases = {
      phrase
      for phrase in phrases
      if 0 < len(phrase) <= LONGEST
      and max(map(len, phrase)) >= SHORTEST
      and not set(phrase) <= ignored
      and not all(word.isdigit() for word in phrase)
    }
    if not self.phrases:
      raise GenrecError(
        f'None of the {len(phrases)} names is one that a text could claim;'
        ' expected attributes of items, such as their categories.'
      )
    self._lengths = sorted({len(p) for p in self.phrases}, reverse=True)
    self._known = [
      [tuple(words(text)) for text in texts if text] for texts in known
    ]

  def claims(
    self, text: str, spared: Iterable[tuple[int, int]] = ()
  ) -> list[Phrase]:
    """Returns the names that a text claims, each once, in order.

    Of names within each other the longest counts alone.

    Args:
      text: what is said.
      spared: from where to where there stands no claim but the name of an item.
    """
    spared = list(spared)
    # Lowering the case may change how long a text is; words are cut before.
    found = [
      None
      if any(start < m.end() and m.start() < stop for start, stop in spared)
      else m.group().lower()
      for m in _WORD.finditer(text)
    ]
    place, claimed = 0, {}
    while place < len(found):
      for length in self._lengths:
        phrase = tuple(found[place : place + length])
        if phrase in self.phrases:
          claimed[phrase] = None
          place += length
          break
      else:
        place += 1
    return list(claimed)

  def holds(self, phrase: Phrase, items: Iterable[int]) -> bool:
    """Returns whether a name is known to hold of any of some items."""
    size = len(phrase)
    return any(
      known[start : start + size] == phrase
      for item in items
      for known in self._known[item]
      for start in range(len(known) - size + 1)
    )


def claim_metrics(
  texts: Sequence[str],
  items: Sequence[Iterable[int]],
  vocabulary: ClaimVocabulary,
  user: Integer[np.ndarray, 'E'],
  *,
  spared: Sequence[Iterable[tuple[int, int]]] | None = None,
) -> dict[str, Any]:
  """Returns how much of what texts claim is false.

  Args:
    texts: E of them.
    items: those that each text speaks of; a claim is true if it holds of one.
    vocabulary: what there is to claim.
    user: of each text; intervals are over users.
    spared: of each text where names of items stand.

  Returns:
    `claims`, how many there are, a text; `false_claims`, the share of them
    that no item has (1 less the precision), and `any_false`, the share of texts
    with at least one, each {n, mean, low, high}, None where there is no claim;
    `examples`, up to three false claims (text, claim).

  Raises:
    GenrecError: if there are no texts, or not items for each.
  """
  if not texts or len(texts) != len(items):
    raise GenrecError(
      f'Got {len(texts)} texts and items for {len(items)}; expected at least'
      ' one text, and the items of each.'
    )
  spared = [()] * len(texts) if spared is None else spared
  total, false, examples = [], [], []
  for text, about, names in zip(texts, items, spared, strict=True):
    about = list(about)
    claimed = vocabulary.claims(text, names)
    wrong = [
      phrase for phrase in claimed if not vocabulary.holds(phrase, about)
    ]
    total.append(len(claimed))
    false.append(len(wrong))
    if wrong and len(examples) < 3:
      examples.append({'text': text, 'claim': ' '.join(wrong[0])})
  ones = np.ones(len(texts))
  return {
    'claims': float(np.mean(total)),
    'false_claims': ratio_bootstrap(false, total, user),
    'any_false': ratio_bootstrap(np.asarray(false) > 0, ones, user),
    'examples': examples,
  }
