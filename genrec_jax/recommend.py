"""Recommends items to users, and shows how the search came to them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from genrec_jax import artifacts
from genrec_jax.answering.facts import task_facts
from genrec_jax.answering.histories import HistoryReader
from genrec_jax.answering.items import (
  check_lists,
  describe_items,
  name_user,
  tell_items,
)
from genrec_jax.answering.prompts import shorten
from genrec_jax.answering.run import (
  Run,
  load_run,
  load_tokens,
)
from genrec_jax.answering.source_ids import read_new_items, read_query_ids
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.catalogue_views import only_items
from genrec_jax.decoding.cold_share import check_share, recommend_with_share
from genrec_jax.decoding.new_users import NOBODY
from genrec_jax.decoding.popularity_penalty import (
  check_penalties,
  log_popularity,
  penalize_popularity,
)
from genrec_jax.decoding.recommend import (
  Lists,
  make_recommend_fn,
  take_examples,
)
from genrec_jax.evaluation import results
from genrec_jax.training import partitioning
from genrec_jax.types import GenrecError, PathLike, unknown_name

SHOWN_HISTORY = 5


def recommend(
  *,
  run_dir: PathLike,
  model,
  users: Sequence[str | int] | None = None,
  history: str | Sequence[str | int] | None = None,
  new_items: bool = True,
  cold_share: float = 0.0,
  popularity_penalty: float = 0.0,
  only: Sequence[str] = (),
  cheaper_than: float | None = None,
  price_column: str = 'price',
  top_k: int = 10,
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  task: str | None = None,
  split: str = 'test',
  checkpoint: str | int = 'best',
  batch_size: int = 128,
  model_parallel: int = 1,
  axis_rules: partitioning.AxisRules = partitioning.AXIS_RULES,
) -> str:
  """Lists the best items for users, with the beams' paths through the trie.

  Reads the inputs of the users from the run's token cache (what they had done
  before their held-out item; the item itself is not looked at). Items that
  `genrec add_items` gave ids are in the catalogue, too. Writes
  `recommendations.jsonl`, a user (or dialogue) a line, which says of which task
  and part it is, and prints the same as a table.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    users: source ids, of dialogues where the task is of those (rows of the
      table where the run directory has no dataset); by default three of them.
    history: source ids of items, oldest first: what a user took who is not in
      the data (--history=ID,ID). New items may be among them.
    new_items: whether to list items that were added to the run
      (RUN_DIR/new_items), where there are any; they are marked `new`.
    cold_share: the share of each list that is kept for items that training
      never saw, as the model ranks them among each other; 0.1 keeps every
      tenth place (decoding/cold_share.py).
    popularity_penalty: how much of an item's popularity in the train
      interactions to take off its score before lists are cut to top_k
      (decoding/popularity_penalty.py); the scores shown stay the model's.
      Raise num_beams with it, and choose it by what `genrec evaluate
      --popularity_penalties` says of validation.
    only: conditions COLUMN=VALUE on the items table that all must hold, such
      as --only=attributes=Coffee: no other item is searched. Items that were
      added to the run are in no row of that table, and left out.
    cheaper_than: the same for items whose price is below.
    price_column: the column of the items table that has prices.
    top_k: how many items a user gets.
    num_beams: the width of the search, at least top_k.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history.
    task: whose prompts to read; by default the first whose answer is an item.
    split: 'test', or 'validation' for the state one item earlier.
    checkpoint: 'best' (on validation), 'last' or a step.
    batch_size: users decoded at once, at most.
    model_parallel: devices that share one copy of the model.
    axis_rules: logical axis to mesh axis (gin/meshes/).

  Returns:
    The table.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, a
      user or an item is unknown, or the prompt asks for more than is known of
      a new user.
  """
  if not 1 <= top_k <= num_beams:
    raise GenrecError(
      f'Got top_k={top_k} with num_beams={num_beams}, expected from 1 to'
      ' num_beams; raise num_beams.'
    )
  if users is not None and history is not None:
    raise GenrecError(
      'Got both users, who are in the data, and the history of a user who is'
      ' not; pass one of them.'
    )
  if split not in results.SPLITS:
    raise unknown_name('split', split, results.SPLITS)
  check_share(cold_share)
  check_penalties([popularity_penalty])
  if cold_share and popularity_penalty:
    raise GenrecError(
      f'Got cold_share={cold_share} and popularity_penalty='
      f'{popularity_penalty}; expected one of them: a penalty would move the'
      ' places that are kept.'
    )
  run_dir = pathlib.Path(run_dir)
  cache = load_tokens(run_dir)
  task = cache.item_task(task)
  num_trained = len(cache.item_tokens)
  added = read_new_items(run_dir, cache) if new_items else None
  cache = cache if added is None else added.extend(cache)
  if history is not None:
    reader = HistoryReader(run_dir, cache, task, added)
    examples = reader.examples([reader.find_items(history)])
    user_ids, split, who = None, None, 'a new user'
  else:
    examples = cache.examples(task, split)
    who = 'dialogue' if task_facts(cache, task).of_dialogues else 'user'
    user_ids = read_query_ids(run_dir, of_dialogues=who == 'dialogue')
    examples = take_examples(
      examples, _find_users(examples, users, user_ids, split, who)
    )
  run = load_run(
    run_dir,
    model,
    checkpoint=checkpoint,
    model_parallel=model_parallel,
    axis_rules=axis_rules,
    cache=cache,
  )
  search = make_recommend_fn(
    model, run.trie, num_beams=num_beams, normalization=normalization
  )
  part, searched = '', None
  if only or cheaper_than is not None:
    allowed, conditions = _read_allowed(
      run_dir, only=only, cheaper_than=cheaper_than, price_column=price_column
    )
    search = only_items(search, run.trie, allowed)
    part = f' ({allowed.sum():,} with {conditions})'
    searched = np.zeros(len(cache.item_tokens), bool)
    searched[: len(allowed)] = allowed
  with run.partitioned():
    lists = recommend_with_share(
      search,
      run.params,
      examples,
      trie=run.trie,
      cold_items=_unseen_items(run_dir, num_trained, len(cache.item_tokens)),
      share=cold_share,
      batch_size=run.rows(batch_size, len(examples)),
      exclude_seen=exclude_seen,
      place=run.place,
    )
  check_lists(lists, cache, examples, exclude_seen, run.step, allowed=searched)
  if popularity_penalty:
    popularity = _train_popularity(run_dir, len(cache.item_tokens))
    lists = penalize_popularity(
      lists, popularity, popularity_penalty, top_k=top_k
    )
  about = {'task': task, 'split': split, 'tokens': cache.fingerprint}
  records = [
    {**about, 'who': who, **record}
    for record in _describe(run, lists, examples, user_ids, top_k, num_trained)
  ]
  path = run_dir / 'recommendations.jsonl'
  if jax.process_index() == 0:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    artifacts.write_text(path, ''.join(f'{line}\n' for line in lines))
  table = '\n\n'.join(format_record(record) for record in records)
  inputs = f'{split} inputs' if split else 'the history given'
  catalogue = f'{num_trained:,} items{part}'
  if added is not None:
    catalogue += f' and {len(added):,} new ones (marked "new")'
  print(
    f'{table}\n\nCheckpoint {run.step}, {inputs}; ranked {catalogue}. Written'
    f' to {path}.'
  )
  return table


def format_record(record: dict[str, Any]) -> str:
  """Returns one user's recommendations as text."""
  history = [item['name'] for item in record['history']]
  who = name_user(record)
  lines = [f'{who}, {len(history)} items before, the last of them:']
  lines += [f'    {shorten(name, 74)}' for name in history[-SHOWN_HISTORY:]]
  return '\n'.join([*lines, *tell_items(record['recommendations'])])


def _describe(
  run: Run,
  lists: Lists,
  examples: TokenExamples,
  user_ids: list[str] | None,
  top_k: int,
  num_trained: int,
) -> list[dict[str, Any]]:
  """Returns what is written of each user, JSON values."""
  names = run.cache.item_names
  return [
    {
      'user': None if user == NOBODY else int(user),
      'user_id': None if user_ids is None else user_ids[user],
      'history': [
        {'item': int(row), 'name': names[row], 'new': bool(row >= num_trained)}
        for row in examples.history[example]
      ],
      'recommendations': [
        {**entry, 'new': entry['item'] >= num_trained}
        for entry in describe_items(
          run, lists.items[example, :top_k], lists.scores[example, :top_k]
        )
      ],
    }
    for example, user in enumerate(examples.user)
  ]


def _find_users(
  examples: TokenExamples,
  users: Sequence[str | int] | str | int | None,
  user_ids: list[str] | None,
  split: str,
  who: str,
) -> list[int]:
  """Returns the last example of each user; by default of three of them."""
  last = {
    str(user if user_ids is None else user_ids[user]): example
    for example, user in enumerate(examples.user)
  }
  if users is None:
    return [*last.values()][:: -(-len(last) // 3)]
  asked = [users] if isinstance(users, str | int) else users
  unknown = [user for user in asked if str(user) not in last]
  if unknown:
    raise GenrecError(
      f'Got {who} {unknown[0]!r}, expected one of the {len(last)} with an'
      f' example in the {split} part, such as {", ".join([*last][:5])}'
      f' ({"rows" if user_ids is None else "source ids"} of {who}s).'
    )
  return [last[str(user)] for user in asked]


def _read_allowed(
  run_dir: pathlib.Path, **conditions
) -> tuple[np.ndarray, str]:
  """Returns which items meet conditions, and these in words."""
  if not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    raise GenrecError(
      f'What items are is in {run_dir / "dataset"}, which is not there; copy it'
      ' here, or leave out only and cheaper_than.'
    )
  from genrec_jax.data import item_filters  # late, as below
  from genrec_jax.data.dataset import Dataset

  items = Dataset.load(run_dir / 'dataset').items
  allowed = item_filters.allowed_items(items, **conditions)
  return allowed, item_filters.describe(**conditions)


def _unseen_items(
  run_dir: pathlib.Path, num_trained: int, num_items: int
) -> np.ndarray:
  """Returns the items that training never saw: held out of it, or new."""
  from genrec_jax.data import splits  # late, as below

  held_out = splits.held_out_items(run_dir / 'dataset')
  return np.concatenate([held_out, np.arange(num_trained, num_items)])


def _train_popularity(run_dir: pathlib.Path, num_items: int) -> np.ndarray:
  """Returns the log popularity of items; new ones have no interactions."""
  from genrec_jax.data import splits  # late, as below
  from genrec_jax.data.dataset import Dataset

  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  _, item = splits.train_interactions(dataset, split)
  return log_popularity(np.bincount(item, minlength=num_items))
