"""The leakage audit of tokenized examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from genrec_jax.data import audit, text_audit
from genrec_jax.data.splits import Examples
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.tasks import prompts
from genrec_jax.tasks.definitions import TaskDefinition
from genrec_jax.tasks.prompts import Template
from genrec_jax.tasks.registry import TaskData
from genrec_jax.tasks.sources import DialogueTargets


def audit_examples(
  examples: TokenExamples,
  candidates: Ragged | None,
  known: Examples | DialogueTargets,
  data: TaskData,
  definition: TaskDefinition,
  templates: Sequence[Template],
  *,
  max_history: int,
  name: str,
) -> None:
  """Checks that no target can be read off its input.

  A rating and a yes or no are single words that many inputs have; that no
  template shows them is checked when it is parsed. A reply may repeat what
  was said before.

  Raises:
    LeakError: if an input holds its target.
  """
  copies = len(examples) // max(1, len(known))
  if definition.answer == 'item':
    shown = (
      known.named
      if definition.of_dialogues
      else known.ragged_histories(max_history)
    )
    audit.audit_inputs(
      inputs=examples.inputs,
      target=examples.target,
      item_tokens=data.vocabulary.layout.item_tokens(data.ids.codes),
      history=_repeat(shown, copies),
      candidates=candidates,
      name=name,
    )
  if definition.answer == 'text':
    text_audit.audit_targets(
      examples.inputs,
      _without_last(examples.targets),
      known=_repeat(known_texts(known, data, definition, templates), copies),
      rows=np.tile(known.rows, copies),
      name=name,
    )


def known_texts(
  known: Examples,
  data: TaskData,
  definition: TaskDefinition,
  templates: Sequence[Template],
) -> Ragged:
  """Returns the text tokens that inputs may show: columns, titles, words."""
  words = ' '.join(prompts.literal_texts(templates, definition.slots))
  titles = [data.titles[item] for item in known.target]
  columns = [titles] + [
    _spell(data.dataset.interactions[column].take(known.rows))
    for column in definition.needed_columns(templates)
    if column != definition.answer_slot
  ]
  encoded = [data.vocabulary.encode_texts(column) for column in columns]
  words = np.array(data.vocabulary.encode_text(words), np.int32)
  return Ragged.from_rows(
    np.concatenate([*(column[row] for column in encoded), words])
    for row in range(len(known))
  )


def _spell(column: pa.ChunkedArray) -> list[str]:
  """Returns texts, and numbers as prompts write them."""
  return [
    value if isinstance(value, str) else f'{value:g}'
    for value in column.to_pylist()
  ]


def _without_last(ragged: Ragged) -> Ragged:
  """Returns the rows without their last token, eos."""
  kept = np.ones(len(ragged.values), bool)
  kept[ragged.offsets[1:] - 1] = False
  offsets = ragged.offsets - np.arange(len(ragged.offsets))
  return Ragged(ragged.values[kept], offsets)


def _repeat(ragged: Ragged, copies: int) -> Ragged:
  lengths = np.tile(ragged.lengths, copies)
  return Ragged(
    np.tile(ragged.values, copies), np.concatenate([[0], np.cumsum(lengths)])
  )
