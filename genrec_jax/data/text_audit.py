"""The leakage audit of texts: what to write may not stand in what is read.

audit_texts        what a data set and its split must hold; `prepare` runs it
audit_targets      no input holds the tokens of its own target
audit_target_texts the same of words
count_copies       texts that are in two parts, word for word: to be reported
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from genrec_jax.data.audit import LeakError
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import TEST, TRAIN, VALIDATION, Split
from genrec_jax.data.token_cache import Ragged

# Texts of interactions that are a task's target.
TARGETS = ('review', 'explanation')
# So many words in a row are nobody's coincidence.
WINDOW = 8


def audit_texts(dataset: Dataset, split: Split) -> None:
  """Checks the texts of a data set against its split.

  A held-out review or explanation is in no train text of the same user and
  item, whole; and no dialogue is in two parts, whatever its ids say.

  Raises:
    LeakError: if a check fails, naming rows.
  """
  _audit_same_pair(dataset, split)
  if len(split.dialogue_part):
    _audit_dialogues(dataset, split)


def _audit_same_pair(dataset: Dataset, split: Split) -> None:
  columns = [
    name for name in TARGETS if name in dataset.interactions.schema.names
  ]
  pair = dataset.user.astype(np.int64) * dataset.num_items + dataset.item
  _, group, count = np.unique(pair, return_inverse=True, return_counts=True)
  rows = np.flatnonzero(count[group] > 1)
  if not columns or not rows.size:
    return
  texts = dataset.interactions.select(columns).take(rows).to_pylist()
  train = collections.defaultdict(list)
  for row, text in zip(rows, texts):
    if split.part[row] == TRAIN:
      train[group[row]] += [_words(value) for value in text.values() if value]
  leaks = [
    row
    for row, text in zip(rows, texts)
    if split.part[row] in (VALIDATION, TEST)
    for value in text.values()
    if value
    and any(_inside(_words(value), known) for known in train[group[row]])
  ]
  if leaks:
    raise LeakError(
      f'{len(leaks)} texts that are held out stand in train texts of the same'
      f' user and item: rows {leaks[:5]}. Prepare with --duplicates=first,'
      ' which keeps one interaction of a user and item.'
    )


def _audit_dialogues(dataset: Dataset, split: Split) -> None:
  offsets = dataset.dialogue_offsets
  if len(split.dialogue_part) != len(offsets) - 1:
    raise LeakError(
      f'The split has parts of {len(split.dialogue_part)} dialogues, but the'
      f' dataset has {len(offsets) - 1}; run `genrec prepare` again.'
    )
  said = dataset.dialogues['text'].to_pylist()
  items = dataset.dialogues['items'].to_pylist()
  seen: dict[str, int] = {}
  for number, part in enumerate(split.dialogue_part.tolist()):
    turns = slice(offsets[number], offsets[number + 1])
    key = repr((said[turns], items[turns]))
    first = seen.setdefault(key, number)
    if split.dialogue_part[first] != part:
      names = dataset.dialogues['dialogue_id'].take(offsets[[first, number]])
      raise LeakError(
        f'The dialogues {names.to_pylist()} say the same, but are in different'
        ' parts of the split; leave one of them out of the raw file.'
      )


def audit_targets(
  inputs: Ragged,
  targets: Ragged,
  *,
  known: Ragged | None = None,
  rows: Int[np.ndarray, 'E'] | None = None,
  name: str = 'the task',
  window: int = WINDOW,
) -> None:
  """Checks that no input holds tokens of its own target.

  A run of `window` tokens of the target, or all of a shorter target, may be
  in the input as often as the known tokens have it.

  Args:
    inputs: tokens of each of the E inputs.
    targets: tokens of each text to be written, without eos.
    known: tokens that each input may show: the template's own words, the
      turns said before, the review whose summary is asked for; nothing
      when None. That a summary is not fed back beside its review, for example,
      is checked with the review alone as known.
    rows: what to call the examples in the error; their numbers when None.
    name: what to call the task in the error.
    window: tokens of a run.

  Raises:
    LeakError: if an input holds its target, naming examples.
  """
  leaks = []
  for example in range(len(inputs)):
    wanted = _runs(targets[example], window)
    if not wanted:
      continue
    length = min(window, len(targets[example]))
    shown = _runs(inputs[example], length)
    found = wanted.keys() & shown.keys()
    if found and known is not None:
      explained = _runs(known[example], length)
      found = {run for run in found if shown[run] > explained[run]}
    if found:
      leaks.append(example)
  if leaks:
    first = leaks[0]
    called = leaks[:5] if rows is None else rows[leaks[:5]].tolist()
    raise LeakError(
      f'{len(leaks)} of {len(inputs)} inputs of {name} hold the text to be'
      f' written: rows {called}; the first has the target'
      f' {targets[first].tolist()} and the input {inputs[first].tolist()}. Take'
      ' the target out of the input.'
    )


def _runs(tokens: np.ndarray, length: int) -> collections.Counter[bytes]:
  """Returns how often each run of `length` tokens occurs; fewer are a run."""
  length = min(length, len(tokens))
  data = np.asarray(tokens, np.int32).tobytes()
  starts = range(0, 4 * (len(tokens) - length + 1), 4) if length else ()
  return collections.Counter(data[i : i + 4 * length] for i in starts)


def audit_target_texts(
  inputs: Sequence[str],
  targets: Sequence[str],
  *,
  known: Sequence[str] | None = None,
  rows: Int[np.ndarray, 'E'] | None = None,
  name: str = 'the task',
  window: int = WINDOW,
) -> None:
  """Checks texts as `audit_targets` checks tokens: word by word, in any case.

  Args:
    inputs: each of the E inputs.
    targets: each text to be written.
    known: what each input may show.
    rows: what to call the examples in the error; their numbers when None.
    name: what to call the task in the error.
    window: words of a run.

  Raises:
    LeakError: if an input holds its target, naming examples.
  """
  numbers: dict[str, int] = {}

  def tokens(texts: Sequence[str]) -> Ragged:
    return Ragged.from_rows(
      [numbers.setdefault(word, len(numbers)) for word in _words(text).split()]
      for text in texts
    )

  audit_targets(
    tokens(inputs),
    tokens(targets),
    known=None if known is None else tokens(known),
    rows=rows,
    name=name,
    window=window,
  )


def _words(text: str) -> str:
  """Returns a text in one case, its words apart by single spaces."""
  return ' '.join(text.casefold().split())


def _inside(text: str, other: str) -> bool:
  return f' {text} ' in f' {other} '


def count_copies(dataset: Dataset, split: Split) -> dict[str, dict[str, int]]:
  """Returns how many texts are in several interactions, word for word.

  That people write "Works great" twice is no leak, and nothing to refuse; but
  a model that knows train texts by heart gets such targets for nothing.

  Returns:
    For each text column: `rows`, how many have one; `copies`, those whose text
    another row has, too; `held_out`, the validation and test rows whose text a
    train row has.
  """
  counts = {}
  for name in (*TARGETS, 'summary'):
    if name in dataset.interactions.column_names:
      rows = np.flatnonzero(dataset.interactions[name].is_valid())
      texts = dataset.interactions[name].take(rows).to_pylist()
      codes = pa.array(map(_words, texts), pa.string()).dictionary_encode()
      code = codes.indices.to_numpy()
      part = split.part[rows]
      in_train = np.isin(code, code[part == TRAIN])
      counts[name] = {
        'rows': len(rows),
        'copies': int((np.bincount(code)[code] > 1).sum()),
        'held_out': int((in_train & np.isin(part, (VALIDATION, TEST))).sum()),
      }
  return counts
