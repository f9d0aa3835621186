"""Answers that are items: ranked lists of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from genrec_jax.answering.prompts import shorten
from genrec_jax.answering.run import Run
from genrec_jax.data.token_cache import TokenCache, TokenExamples
from genrec_jax.decoding.recommend import (
  Lists,
  make_recommend_fn,
  recommend_examples,
)
from genrec_jax.evaluation.outputs import NO_ITEM
from genrec_jax.types import PAD_ID, GenrecError


def rank_items(
  run: Run,
  examples: TokenExamples,
  *,
  num_beams: int,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  batch_size: int = 128,
) -> Lists:
  """Returns the best items for each example.

  Args:
    run: the model.
    examples: what to rank for, E of them.
    num_beams: the length of the lists, and the width of the search.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history; of a dialogue those it
      has mentioned.
    batch_size: examples decoded at once.

  Raises:
    GenrecError: if scores are not numbers.
  """
  recommend = make_recommend_fn(
    run.model, run.trie, num_beams=num_beams, normalization=normalization
  )
  with run.partitioned():
    lists = recommend_examples(
      recommend,
      run.params,
      examples,
      batch_size=run.rows(batch_size, len(examples)),
      exclude_seen=exclude_seen,
      place=run.place,
    )
  everything = np.ones(len(run.cache.item_tokens), bool)
  _check_found(lists, examples, exclude_seen, everything, run.step)
  return lists


def check_scores(scores: np.ndarray, step: int) -> None:
  """Raises GenrecError if scores of a checkpoint are NaN."""
  if np.isnan(scores).any():
    raise _no_numbers(step)


def _check_found(
  lists: Lists,
  examples: TokenExamples,
  exclude_seen: bool,
  allowed: Bool[np.ndarray, 'N'],
  step: int,
) -> None:
  """Raises GenrecError if items are left, but the search finds none of them.

  No beam is better than another where scores are NaN, and none survives.
  """
  check_scores(lists.scores, step)
  for example in np.flatnonzero((lists.items < 0).all(axis=1)):
    left = allowed.copy()
    if exclude_seen:
      left[examples.history[example]] = False
    if left.any():
      raise _no_numbers(step)


def _no_numbers(step: int) -> GenrecError:
  return GenrecError(
    f'The parameters of step {step} give scores that are not numbers (NaN);'
    ' choose an earlier checkpoint, or train with a lower learning rate.'
  )


def check_lists(
  lists: Lists,
  cache: TokenCache,
  examples: TokenExamples,
  exclude_seen: bool,
  step: int,
  *,
  allowed: Bool[np.ndarray, 'N'] | None = None,
) -> float:
  """Returns the share of listed entries that may not be there: 0.

  An entry is invalid if its tokens are no item's, or it was to be excluded.

  Args:
    lists: of E examples.
    cache: whose items were ranked.
    examples: what they were ranked for.
    exclude_seen: whether items of histories were to be left out.
    step: of the checkpoint.
    allowed: the items that a filter leaves; None for all.

  Raises:
    GenrecError: if scores are not numbers.
  """
  if allowed is None:
    allowed = np.ones(len(cache.item_tokens), bool)
  _check_found(lists, examples, exclude_seen, allowed, step)
  listed = lists.items >= 0
  tokens = cache.item_tokens[lists.items]
  invalid = listed & (lists.tokens != tokens).any(axis=-1)
  invalid |= listed & ~allowed[lists.items]
  if exclude_seen:
    for example, items in enumerate(lists.items):
      invalid[example] |= np.isin(items, examples.history[example])
  return float((invalid & listed).sum() / max(1, listed.sum()))


def describe_items(
  run: Run, items: Int[np.ndarray, 'K'], scores: Float[np.ndarray, 'K']
) -> list[dict[str, Any]]:
  """Returns a ranked list in JSON values: rank, item, name, score, path.

  Args:
    run: the model.
    items: the best first; NO_ITEM where there are no more.
    scores: of these.
  """
  return [
    {
      'rank': place + 1,
      'item': int(items[place]),
      'name': run.cache.item_names[items[place]],
      'score': float(scores[place]),
      'path': path,
    }
    for place, path in enumerate(item_paths(run, np.maximum(items, 0)))
    if items[place] != NO_ITEM
  ]


def item_paths(
  run: Run, items: Sequence[int] | Int[np.ndarray, 'K']
) -> list[list[dict[str, Any]]]:
  """Returns the tokens of items, and how many items share each prefix."""
  sizes = np.asarray(run.trie.prefix_sizes(np.asarray(items, np.int32)))
  paths = []
  for item, shared in zip(items, sizes):
    path = []
    for token, size in zip(run.cache.item_tokens[item].tolist(), shared):
      if token == PAD_ID:
        continue
      meaning = run.layout.describe(token)
      path.append(
        {
          'token': token,
          'meaning': meaning,
          'label': meaning.split()[-1],
          'items': int(size),
        }
      )
    paths.append(path)
  return paths


def tell_items(
  entries: Sequence[dict[str, Any]], true_item: int | None = None
) -> list[str]:
  """Returns the lines of a ranked list, under a head; * marks the true item.

  Args:
    entries: as `describe_items`; those that are `new` are told to be.
    true_item: None where it is not known.
  """
  lines = [
    f'{"":>3}  {"log p":>7}  {"item":<40}  code (items that share the prefix)'
  ]
  for entry in entries:
    mark = '*' if entry['item'] == true_item else ' '
    name = f'new: {entry["name"]}' if entry.get('new') else entry['name']
    lines.append(
      f'{entry["rank"]:>3}{mark} {entry["score"]:7.2f}'
      f'  {shorten(name, 40):<40}  {tell_path(entry["path"])}'
    )
  return lines


def tell_path(path: Sequence[dict[str, Any]]) -> str:
  """Returns a path as text: each code, and the items that share the prefix."""
  return ' > '.join(f'{step["label"]} ({step["items"]})' for step in path)


def name_user(record: dict[str, Any]) -> str:
  """Returns whom a record is of: 'User u3', 'Dialogue d7' or 'A new user'."""
  known = record['user'] if record['user_id'] is None else record['user_id']
  who = record['who'].capitalize()
  return who if known is None else f'{who} {known}'
