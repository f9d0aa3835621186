"""Recommends items to users, and shows how the search came to them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from genrec_jax import artifacts
from genrec_jax.data.token_cache import TokenCache, TokenExamples
from genrec_jax.decoding.recommend import (
  Lists,
  make_recommend_fn,
  recommend_examples,
  take_examples,
  trie_of_tokens,
)
from genrec_jax.decoding.trie import Trie
from genrec_jax.evaluate import (
  check_lists,
  choose_examples,
  load_params,
  load_tokens,
  place_on,
)
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.training import partitioning
from genrec_jax.types import PAD_ID, GenrecError, PathLike

SHOWN_HISTORY = 5


def recommend(
  *,
  run_dir: PathLike,
  model,
  users: Sequence[str | int] | None = None,
  top_k: int = 10,
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  task: str | None = None,
  split: str = 'test',
  checkpoint: str | int = 'best',
  batch_size: int = 128,
) -> str:
  """Lists the best items for users, with the beams' paths through the trie.

  Reads the inputs of the users from the run's token cache (what they had done
  before their held-out item; the item itself is not looked at). Writes
  `recommendations.jsonl`, a user a line, and prints the same as a table.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    users: source ids (rows of the users table where the run directory has no
      dataset); by default three of them.
    top_k: how many items a user gets.
    num_beams: the width of the search, at least top_k.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history.
    task: whose prompts to read; by default the first whose answer is an item.
    split: 'test', or 'validation' for the state one item earlier.
    checkpoint: 'best' (on validation), 'last' or a step.
    batch_size: users decoded at once, at most.

  Returns:
    The table.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, or
      a user is unknown.
  """
  if not 1 <= top_k <= num_beams:
    raise GenrecError(
      f'Got top_k={top_k} with num_beams={num_beams}, expected from 1 to'
      ' num_beams; raise num_beams.'
    )
  partitioning.use_compilation_cache()
  run_dir = pathlib.Path(run_dir)
  cache = load_tokens(run_dir)
  task, examples, _ = choose_examples(cache, task, split, None, 0)
  user_ids = _read_user_ids(run_dir)
  examples = take_examples(
    examples, _find_users(examples, users, user_ids, split)
  )
  mesh = partitioning.make_mesh()
  step, params = load_params(run_dir, model, cache, checkpoint, mesh)
  trie = trie_of_tokens(cache)
  shares = mesh.shape['data']
  with partitioning.partitioned(mesh):
    lists = recommend_examples(
      make_recommend_fn(
        model, trie, num_beams=num_beams, normalization=normalization
      ),
      params,
      examples,
      batch_size=-(-min(batch_size, len(examples)) // shares) * shares,
      exclude_seen=exclude_seen,
      place=place_on(mesh),
    )
  check_lists(lists, cache, examples, exclude_seen, step)
  records = _describe(lists, examples, cache, trie, user_ids, top_k)
  path = run_dir / 'recommendations.jsonl'
  artifacts.write_text(
    path,
    ''.join(json.dumps(r, ensure_ascii=False) + '\n' for r in records),
  )
  table = '\n\n'.join(format_record(record) for record in records)
  print(f'{table}\n\nCheckpoint {step}, {split} inputs. Written to {path}.')
  return table


def format_record(record: dict[str, Any]) -> str:
  """Returns one user's recommendations as text."""
  history = [item['name'] for item in record['history']]
  who = record['user'] if record['user_id'] is None else record['user_id']
  lines = [f'User {who}, {len(history)} items before, the last of them:']
  lines += [f'    {_cut(name, 74)}' for name in history[-SHOWN_HISTORY:]]
  lines.append(
    f'{"":>3}  {"log p":>7}  {"item":<40}  code (items that share the prefix)'
  )
  for entry in record['recommendations']:
    path = ' > '.join(
      f'{step["label"]} ({step["items"]})' for step in entry['path']
    )
    lines.append(
      f'{entry["rank"]:>3}  {entry["score"]:7.2f}'
      f'  {_cut(entry["name"], 40):<40}  {path}'
    )
  return '\n'.join(lines)


def _describe(
  lists: Lists,
  examples: TokenExamples,
  cache: TokenCache,
  trie: Trie,
  user_ids: list[str] | None,
  top_k: int,
) -> list[dict[str, Any]]:
  """Returns what is written of each user, JSON values."""
  layout = TokenLayout.from_dict(cache.layout)
  sizes = np.asarray(trie.prefix_sizes(np.maximum(lists.items, 0)))

  def item(row):
    return {'item': int(row), 'name': cache.item_names[row]}

  def path(tokens, sizes):
    return [
      {
        'token': int(token),
        'meaning': layout.describe(int(token)),
        'label': layout.describe(int(token)).rpartition(' ')[2],
        'items': int(size),
      }
      for token, size in zip(tokens, sizes)
      if token != PAD_ID
    ]

  records = []
  for example, user in enumerate(examples.user):
    places = range(min(top_k, int((lists.items[example] >= 0).sum())))
    records.append(
      {
        'user': int(user),
        'user_id': None if user_ids is None else user_ids[user],
        'history': [item(row) for row in examples.history[example]],
        'recommendations': [
          {
            'rank': place + 1,
            **item(lists.items[example, place]),
            'score': float(lists.scores[example, place]),
            'path': path(lists.tokens[example, place], sizes[example, place]),
          }
          for place in places
        ],
      }
    )
  return records


def _find_users(
  examples: TokenExamples,
  users: Sequence[str | int] | str | int | None,
  user_ids: list[str] | None,
  split: str,
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
      f'Got user {unknown[0]!r}, expected one of the {len(last)} with an'
      f' example in the {split} part, such as {", ".join([*last][:5])}'
      f' ({"rows" if user_ids is None else "ids"} of the users table).'
    )
  return [last[str(user)] for user in asked]


def _read_user_ids(run_dir: pathlib.Path) -> list[str] | None:
  """Returns the source ids of users, None where the dataset is not here."""
  if not (run_dir / 'dataset' / artifacts.MANIFEST).exists():
    return None
  # Late, because a machine that only decodes needs no Arrow.
  from genrec_jax.data.dataset import Dataset

  return Dataset.load(run_dir / 'dataset').users['user_id'].to_pylist()


def _cut(text: str, width: int) -> str:
  return text if len(text) <= width else text[: width - 1] + '…'
