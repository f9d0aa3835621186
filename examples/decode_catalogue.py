"""The search on its own: a catalogue, filters, changes, and a model that is a
function. See docs/decoding.md.

  python examples/decode_catalogue.py
"""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.decoding.beam_search import beam_search
from genrec_jax.decoding.catalogue_scores import score_catalogue
from genrec_jax.decoding.constraints import make_views
from genrec_jax.decoding.live_catalogue import LiveCatalogue
from genrec_jax.decoding.trie_files import load_trie, save_trie

NUM_ITEMS, NUM_LEVELS, CODEBOOK_SIZE, BATCH_SIZE = 10_000, 3, 64, 2
# Tokens 0, 1 and 2 are pad, eos and unk; then a block of codes a level.
BLOCKS = [
  range(3 + level * CODEBOOK_SIZE, 3 + (level + 1) * CODEBOOK_SIZE)
  for level in range(NUM_LEVELS)
]
VOCAB_SIZE = BLOCKS[-1].stop


def make_items(count: int) -> np.ndarray:
  """Returns the tokens of distinct items, [count, NUM_LEVELS]."""
  rng = np.random.default_rng(0)
  number = rng.choice(CODEBOOK_SIZE**NUM_LEVELS, count, replace=False)
  codes = np.unravel_index(number, [CODEBOOK_SIZE] * NUM_LEVELS)
  return np.stack(codes, axis=1) + [block.start for block in BLOCKS]


def tokens_to_logits(tokens, cache, block):
  """A model that knows the last token alone: a table of bigrams.

  Args:
    tokens: [R, T], the next tokens of each row.
    cache: the state; its leaves have the rows on axis 0.
    block: the tokens whose logits are wanted, or None for all.

  Returns:
    Logits [R, T, V or len(block)] of the token after each, and the new state.
  """
  table = jax.random.normal(jax.random.key(0), (VOCAB_SIZE, VOCAB_SIZE)) * 2
  logits = table[tokens] + cache['taste'][:, None, :]
  if block is not None:
    logits = logits[..., block.start : block.stop]
  return logits, cache


def main() -> None:
  """Searches, filters, changes the catalogue, saves it."""
  tokens = make_items(NUM_ITEMS + 100)
  catalogue = LiveCatalogue(
    tokens[:NUM_ITEMS], capacity=NUM_ITEMS + 100, blocks=BLOCKS
  )
  taste = jax.random.normal(jax.random.key(1), (BATCH_SIZE, VOCAB_SIZE))
  cache = {'taste': taste}
  search = jax.jit(
    functools.partial(
      beam_search,
      tokens_to_logits=tokens_to_logits,
      batch_size=BATCH_SIZE,
      num_beams=50,
    )
  )
  found = search(catalogue.trie, cache=cache)
  print('best items of request 0:', found.items[0, :5])

  # The exact ranking, from the score of every item.
  exact = jax.jit(
    lambda trie: score_catalogue(trie, tokens_to_logits, cache, BATCH_SIZE)
  )(catalogue.trie)
  best = jax.lax.top_k(exact, 10)[1]
  held = np.isin(best[0], found.items[0]).mean()
  print(f'of the ten best of all, the beams found {held:.0%}')

  # Without what the users have, and of one category alone.
  allowed = jnp.arange(NUM_ITEMS + 100)[None] % 5 == 0
  filters = {
    'exclude': np.asarray(found.items[:, :8]),
    'views': make_views(catalogue.trie, allowed),
    'view': np.array([0, -1]),  # request 1 may get items of any category
  }
  found = search(catalogue.trie, cache=cache, **filters)
  print('in the category, and new:', found.items[0, :5])

  # A hundred items go and a hundred come; nothing compiles again.
  compiled = search._cache_size()
  trie = catalogue.update(
    remove=np.arange(100),
    add=np.arange(NUM_ITEMS, NUM_ITEMS + 100),
    tokens=tokens[NUM_ITEMS:],
  )
  filters['views'] = make_views(trie, allowed)
  found = search(trie, cache=cache, **filters)
  assert search._cache_size() == compiled
  print('after the change:', found.items[0, :5])

  with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory) / 'trie'
    save_trie(trie, path)
    print(f'saved {load_trie(path).num_items} items in {trie.nbytes:,} bytes')


if __name__ == '__main__':
  main()
