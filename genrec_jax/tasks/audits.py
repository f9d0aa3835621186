"""The leakage audit of tokenized examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from genrec_jax.data import audit, splits, text_audit
from genrec_jax.data.splits import Examples
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.retrieval import audit as retrieval_audit
from genrec_jax.retrieval.items import retrieve_items
from genrec_jax.tasks import prompts, retrieved
from genrec_jax.tasks.definitions import TaskDefinition
from genrec_jax.tasks.prompts import Template
from genrec_jax.tasks.registry import TaskData
from genrec_jax.tasks.retrieved import RetrievalSettings, Retrieved
from genrec_jax.tasks.sources import DialogueTargets


def audit_examples(
  examples: TokenExamples,
  shown_items: Sequence[Ragged],
  shown_text: Ragged | None,
  known: Examples | DialogueTargets,
  data: TaskData,
  definition: TaskDefinition,
  templates: Sequence[Template],
  *,
  max_history: int,
  name: str,
) -> None:
  """Checks that no target can be read off its input.

  An input may show the items and the text tokens that it was given beside its
  history: candidates, and what `audit_retrieved` has checked. A rating and a
  yes or no are single words that many inputs have; that no template shows them
  is checked when it is parsed. A reply may repeat what was said before.

  Raises:
    LeakError: if an input holds its target.
  """
  copies = len(examples) // max(1, len(known))
  if definition.answer == 'item':
    history = (
      known.named
      if definition.of_dialogues
      else known.ragged_histories(max_history)
    )
    audit.audit_inputs(
      inputs=examples.inputs,
      target=examples.target,
      item_tokens=data.vocabulary.layout.item_tokens(data.ids.codes),
      history=_repeat(history, copies),
      candidates=_join(shown_items),
      name=name,
    )
  if definition.answer == 'text':
    text_audit.audit_targets(
      examples.inputs,
      _without_last(examples.targets),
      known=_repeat(
        known_texts(known, data, definition, templates, shown_text), copies
      ),
      rows=np.tile(known.rows, copies),
      name=name,
    )


def audit_retrieved(
  found: Retrieved,
  known: Examples | DialogueTargets,
  data: TaskData,
  definition: TaskDefinition,
  templates: Sequence[Template],
  settings: RetrievalSettings,
  *,
  max_history: int,
  name: str,
) -> None:
  """Checks that no example has retrieved what it must not know.

  Raises:
    LeakError: if a text is its own or held out, or an item was put near by its
      own rows.
  """
  dataset, split = data.dataset, data.split
  if found.items is not None:
    retrieval_audit.audit_items(
      lambda train, queries: retrieve_items(
        settings.retrieval,
        train,
        dataset.items,
        queries,
        num_results=settings.num_retrieved,
      ),
      found.items,
      retrieved.train_pairs(data, definition),
      retrieved.item_queries(data, definition, known, max_history),
      name=name,
    )
  if found.rows is not None:
    showing = [t for t in templates if prompts.uses(t, prompts.RETRIEVED)]
    if definition.of_dialogues:
      lengths = np.diff(dataset.dialogue_offsets)
      number = np.repeat(np.arange(len(lengths)), lengths)
      facts = {
        'is_train': split.dialogue_part[number] == splits.TRAIN,
        'user': number,
        'item': None,
      }
    else:
      facts = {
        'is_train': split.part == splits.TRAIN,
        'user': dataset.user,
        'item': dataset.item,
      }
    retrieval_audit.audit_sentences(
      found.rows,
      retrieved.text_queries(data, definition, showing, known),
      own=known.rows,
      name=name,
      **facts,
    )


def known_texts(
  known: Examples,
  data: TaskData,
  definition: TaskDefinition,
  templates: Sequence[Template],
  shown: Ragged | None = None,
) -> Ragged:
  """Returns the text tokens that inputs may show.

  Columns, titles, the words of templates, and what is `shown` beside.
  """
  words = ' '.join(prompts.literal_texts(templates, definition.slots))
  titles = [data.titles[item] for item in known.target]
  columns = [titles] + [
    _spell(data.dataset.interactions[column].take(known.rows))
    for column in definition.needed_columns(templates)
    if column != definition.answer_slot
  ]
  encoded = [data.vocabulary.encode_texts(column) for column in columns]
  encoded += [] if shown is None else [shown]
  words = np.array(data.vocabulary.encode_text(words), np.int32)
  return Ragged.from_rows(
    np.concatenate([*(text[row] for text in encoded), words])
    for row in range(len(known))
  )


def _spell(column: pa.ChunkedArray) -> list[str]:
  """Returns texts, and numbers as prompts write them."""
  return [
    value if isinstance(value, str) else f'{value:g}'
    for value in column.to_pylist()
  ]


def _join(raggeds: Sequence[Ragged]) -> Ragged | None:
  """Returns the rows of all, one after the other; None of none."""
  if len(raggeds) < 2:
    return raggeds[0] if raggeds else None
  return Ragged.from_rows(
    np.concatenate([ragged[row] for ragged in raggeds])
    for row in range(len(raggeds[0]))
  )


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
