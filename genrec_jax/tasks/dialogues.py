"""Dialogues as tokens: text pieces in which an item is its ID tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int32

from genrec_jax.data.dataset import Dataset
from genrec_jax.data.dialogues import RECOMMENDER, SEEKER, mentions
from genrec_jax.data.texts import MENTION
from genrec_jax.data.token_cache import Ragged
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.tasks.sources import DialogueTargets
from genrec_jax.tasks.vocabulary import RecommendationVocabulary
from genrec_jax.types import EOS_ID

# Who speaks, before each turn of a context.
MARKS = {SEEKER: 'User: ', RECOMMENDER: 'System: '}


def tokenize_turns(
  dataset: Dataset, ids: ItemIds, vocabulary: RecommendationVocabulary
) -> list[Int32[np.ndarray, '?']]:
  """Returns the tokens of every turn, without who speaks."""
  items = vocabulary.layout.item_tokens(ids.codes)
  spelled = [row[row > EOS_ID].tolist() for row in items]
  named = mentions(dataset.dialogues)
  turns = []
  for row, text in enumerate(dataset.dialogues['text'].to_pylist()):
    tokens = []
    pieces = text.split(MENTION)
    for piece, item in zip(pieces, [*named[row].tolist(), None], strict=True):
      tokens += vocabulary.encode_text(piece)
      tokens += [] if item is None else spelled[item]
    turns.append(np.array(tokens, np.int32))
  return turns


def join_context(
  turns: Sequence[Int32[np.ndarray, '?']],
  marks: Sequence[Int32[np.ndarray, '?']],
  *,
  max_tokens: int,
  within: range,
) -> Int32[np.ndarray, '?']:
  """Returns the last turns that have room, each with its mark before it.

  Where not even the last one has, its end is shown, and no part of an ID that
  the cut falls into.

  Args:
    turns: tokens of each turn, the last one last.
    marks: tokens of who speaks.
    max_tokens: the room.
    within: tokens that stand within an ID, and never start one.
  """
  shown: list[np.ndarray] = []
  room = max_tokens
  for turn, mark in zip(reversed(turns), reversed(marks), strict=True):
    if len(turn) + len(mark) > room:
      break
    shown = [mark, turn, *shown]
    room -= len(turn) + len(mark)
  if not shown:
    mark, turn = marks[-1], turns[-1]
    end = turn[max(len(turn) - max(max_tokens - len(mark), 0), 0) :]
    split = np.isin(end, within).cumprod().sum()
    shown = [mark, end[split:]]
  return np.concatenate(shown)[:max_tokens]


def tokenize_examples(
  dataset: Dataset,
  ids: ItemIds,
  vocabulary: RecommendationVocabulary,
  parts: Mapping[str, DialogueTargets],
  *,
  max_text: int,
) -> dict[str, dict[str, Ragged]]:
  """Returns for each part the `dialogue` and the `reply`, a row an example."""
  turns = tokenize_turns(dataset, ids, vocabulary)
  mark_tokens = {
    role: np.array(vocabulary.encode_text(mark), np.int32)
    for role, mark in MARKS.items()
  }
  marks = [mark_tokens[r] for r in dataset.dialogues['role'].to_pylist()]
  blocks = vocabulary.layout.item_blocks[: ids.num_levels]
  within = range(blocks[0].stop, blocks[-1].stop)
  tokens = {}
  for part, examples in parts.items():
    tokens[part] = {
      'dialogue': Ragged.from_rows(
        join_context(
          turns[start:row],
          marks[start:row],
          max_tokens=max_text,
          within=within,
        )
        for start, row in zip(examples.starts, examples.rows)
      ),
      'reply': Ragged.from_rows(turns[row] for row in examples.rows),
    }
  return tokens


def count_cut(
  dataset: Dataset,
  ids: ItemIds,
  vocabulary: RecommendationVocabulary,
  parts: Iterable[DialogueTargets],
  *,
  max_text: int,
  max_answer: int | None = None,
) -> dict[str, int]:
  """Returns how many examples have a `dialogue` or a `reply` that is cut.

  Args:
    dataset: of which the dialogues are.
    ids: of its items.
    vocabulary: of text and items.
    parts: the examples of each part.
    max_text: how many tokens of a dialogue are shown.
    max_answer: how many of a reply are learnt, eos included; None where no
      reply is asked for.
  """
  turns = tokenize_turns(dataset, ids, vocabulary)
  said = np.array([len(turn) for turn in turns])
  marks = {role: len(vocabulary.encode_text(m)) for role, m in MARKS.items()}
  marks = np.array([marks[r] for r in dataset.dialogues['role'].to_pylist()])
  before = np.concatenate([[0], np.cumsum(said + marks)])
  cut = {'dialogue': 0} | ({} if max_answer is None else {'reply': 0})
  for examples in parts:
    context = before[examples.rows] - before[examples.starts]
    cut['dialogue'] += int((context > max_text).sum())
    if max_answer is not None:
      cut['reply'] += int((said[examples.rows] >= max_answer).sum())
  return cut
