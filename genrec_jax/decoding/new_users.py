"""Examples of users who are not in the data, from what they took.

`genrec tokenize` keeps the prompt that evaluation uses as a list of parts: the
tokens of its words, and the names of its slots. Filling it in again needs
neither SeqIO nor the text model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from genrec_jax.data.token_cache import Ragged, TokenCache, TokenExamples
from genrec_jax.types import EOS_ID, GenrecError

SLOTS = ('user', 'history', 'profile')  # what is known of a new user
USER_ATTRIBUTES = 'user_attributes'
NOBODY = -1  # the row of a user who is in no table


def new_user_examples(
  cache: TokenCache,
  task: str,
  histories: Sequence[Sequence[int]],
  *,
  user_tokens: Int[np.ndarray, 'u Lu'] | None = None,
  seed: int = 0,
) -> TokenExamples:
  """Returns an example for each history, without a target.

  Args:
    cache: the run's tokens, with new items (`NewItems.extend`) where histories
      have some.
    task: whose prompt to fill in.
    histories: rows of items, oldest first; the prompt shows the last of them.
    user_tokens: the tokens of the users, where the layout has some.
    seed: of the order of the items in a profile.

  Returns:
    Examples whose user is NOBODY, whose target is -1 and whose `targets` are
    empty.

  Raises:
    GenrecError: if a history is empty, the users' tokens are missing, or the
      prompt asks for more than is known of a new user.
  """
  prompt = read_prompt(cache, task)
  has_users = bool(cache.layout['user_codebook_sizes'])
  if (
    has_users
    and user_tokens is None
    and {'user', 'profile'}
    & set(part for part in prompt if isinstance(part, str))
  ):
    raise GenrecError(
      f'The prompt of task {task!r} shows the tokens of the user; pass the'
      ' user_tokens of the new ones (cold_start.new_user_codes).'
    )
  most = cache.manifest['settings']['max_history']
  inputs = []
  for number, history in enumerate(histories):
    rows = np.asarray(history, np.int64).reshape(-1)
    if not len(rows):
      raise GenrecError(
        f'The history of new user {number} is empty: nothing is known of them.'
        ' Give at least one item that they took.'
      )
    who = np.zeros(0, np.int32)
    if has_users and user_tokens is not None:
      who = np.asarray(user_tokens[number], np.int32)
    shown = rows[-most:]
    profile = who
    if not has_users:
      shuffled = np.random.default_rng(seed).permutation(shown)
      profile = _item_tokens(cache, shuffled)
    slots = {
      'user': who,
      'history': _item_tokens(cache, shown),
      'profile': profile,
    }
    parts = [
      slots[part] if isinstance(part, str) else np.asarray(part, np.int32)
      for part in prompt
    ]
    inputs.append(np.concatenate(parts))
  nothing = np.full(len(inputs), NOBODY, np.int32)
  return TokenExamples(
    inputs=Ragged.from_rows(inputs),
    targets=Ragged.from_rows([[]] * len(inputs)),
    user=nothing,
    target=nothing,
    tied=np.zeros(len(inputs), bool),
    history=Ragged.from_rows(histories),
  )


def read_prompt(cache: TokenCache, task: str) -> list[str | list[int]]:
  """Returns the parts of a task's prompt: names of slots, tokens of words.

  What the users of the data are is unknown of a new one, and so it says.

  Raises:
    GenrecError: if the cache does not say, or a slot is none of SLOTS.
  """
  facts = cache.manifest.get('settings', {}).get('tasks', {}).get(task, {})
  if 'prompt' not in facts:
    raise GenrecError(
      f'The tokens at {cache.directory} do not say how the prompts of task'
      f' {task!r} are made (an older version wrote them, or the task has'
      ' preprocessors of its own), so none can be made for a new user. Run'
      ' `genrec tokenize` again: checkpoints stay valid while the tokens do'
      ' not change.'
    )
  prompt = [_hide_attributes(cache, part) for part in facts['prompt']]
  for part in prompt:
    if isinstance(part, str) and part not in SLOTS:
      raise GenrecError(
        f'The prompt of task {task!r} has the slot {part!r}, but of a new user'
        f' only {", ".join(SLOTS)} can be filled in; choose another task, or'
        ' tokenize with a template of these slots first.'
      )
  return prompt


def _hide_attributes(cache: TokenCache, part: str | list[int]):
  """Returns the tokens of unknown attributes in the place of their slot."""
  if part != USER_ATTRIBUTES:
    return part
  known = cache.manifest['settings']['attribute_tokens'].values()
  # The unknown value of each column stands first.
  return [token for values in known for token in next(iter(values.values()))]


def _item_tokens(
  cache: TokenCache, rows: Int[np.ndarray, 'T']
) -> Int32[np.ndarray, 'tokens']:
  """Returns the tokens of items one after the other, without end or padding."""
  tokens = cache.item_tokens[rows].reshape(-1)
  if cache.layout['variable_length']:
    tokens = tokens[tokens > EOS_ID]
  return tokens.astype(np.int32)
