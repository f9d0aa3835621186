"""A small recurrent language model whose log-probabilities NumPy can check."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.trie_builder import Thresholds


class ToyModel:
  """state' = tanh(state A + E[token]); logits = state' W. One state a row."""

  def __init__(self, *, batch_size, vocab_size, seed=0, width=6):
    draw = np.random.default_rng(seed).standard_normal
    self.vocab_size = vocab_size
    self.mix = draw((width, width)) / 2
    self.embedding = draw((vocab_size, width))
    self.head = draw((width, vocab_size)) * 2
    self.start = draw((batch_size, width))

  def cache(self):
    state = jnp.asarray(self.start, jnp.float32)
    return {'layer': {'state': state, 'cache_index': jnp.zeros((), jnp.int32)}}

  def tokens_to_logits(self, tokens, cache, block=None):
    state = cache['layer']['state']
    assert len(tokens) == len(state)
    as_float32 = [
      jnp.asarray(x, jnp.float32) for x in (self.mix, self.embedding, self.head)
    ]
    mix, embedding, head = as_float32
    logits = []
    for token in tokens.T:
      state = jnp.tanh(state @ mix + embedding[token])
      logits.append(state @ head)
    logits = jnp.stack(logits, axis=1)
    if block is not None:
      logits = logits[..., block.start : block.stop]
    index = cache['layer']['cache_index'] + tokens.shape[1]
    return logits, {'layer': {'state': state, 'cache_index': index}}

  def log_probabilities(self, request, prefix):
    """In float64, over the vocabulary, after the tokens of `prefix`."""
    state = self.start[request]
    for token in (0, *prefix):
      state = np.tanh(state @ self.mix + self.embedding[token])
    logits = state @ self.head
    return logits - np.log(np.exp(logits).sum())


class Reference:
  """Scores and searches by dictionaries of prefixes, in float64.

  `alphabets` are the tokens that each level's codes may be, padding apart: at
  first those between the smallest and the largest found there, and the end.
  """

  def __init__(self, model, item_tokens, normalization='vocabulary'):
    self.model = model
    self.alphabets = [set(column) for column in np.asarray(item_tokens).T]
    for alphabet in self.alphabets:
      tokens = alphabet - {0, 1}
      alphabet |= set(range(min(tokens), max(tokens) + 1)) if tokens else set()
    if any(0 in alphabet or 1 in alphabet for alphabet in self.alphabets):
      for alphabet in self.alphabets[1:]:
        alphabet.add(1)
        alphabet.discard(0)
    self.items = [tuple(int(t) for t in row) for row in item_tokens]
    self.normalization = normalization

  def next_scores(self, request, prefix):
    """The log-probability of each token that may follow a prefix."""
    place = len(prefix)
    legal = {item[place] for item in self.items if item[:place] == prefix}
    if legal == {0}:
      return {0: 0.0}
    among = {
      'vocabulary': set(range(self.model.vocab_size)),
      'level': self.alphabets[place],
      'children': legal,
    }[self.normalization]
    scores = self.model.log_probabilities(request, prefix)
    total = np.log(sum(np.exp(scores[token]) for token in among))
    return {token: scores[token] - total for token in legal}

  def score(self, request, item):
    """The log-probability of an item."""
    tokens = self.items[item]
    return sum(
      self.next_scores(request, tokens[:place])[token]
      for place, token in enumerate(tokens)
    )

  def search(self, request, num_beams, excluded=()):
    """(score, item) best first: a textbook beam search."""
    allowed = {
      tokens: item
      for item, tokens in enumerate(self.items)
      if item not in excluded
    }
    beams = [(0.0, ())]
    for place in range(len(self.items[0])):
      grown = [
        (score + more, (*prefix, token))
        for score, prefix in beams
        for token, more in self.next_scores(request, prefix).items()
      ]
      prefixes = {tokens[: place + 1] for tokens in allowed}
      grown = [(s, prefix) for s, prefix in grown if prefix in prefixes]
      beams = sorted(grown, key=lambda beam: (-beam[0], beam[1]))[:num_beams]
    return [(score, allowed[prefix]) for score, prefix in beams]


@pytest.fixture(scope='session')
def trie_kinds():
  """Thresholds that make all levels but the first of one kind."""
  return {
    'default': Thresholds(),
    'dense': Thresholds(child_cost=1e9, dense_bytes=2**30),
    'sparse': Thresholds(child_cost=0, exception_share=0),
    'exceptions': Thresholds(child_cost=0, exception_share=2),
    'hybrid': Thresholds(
      child_cost=1e9, dense_bytes=0, dense_bytes_per_child=0, light_width=2
    ),
  }


@pytest.fixture(scope='session')
def toy_model():
  return ToyModel


@pytest.fixture(scope='session')
def reference():
  return Reference


@pytest.fixture(scope='session')
def draw_catalogue():
  """Random distinct items over tokens 3 .. vocab_size - 1, in random order."""

  def draw(seed, num_items, num_levels, vocab_size, *, variable=False):
    rng = np.random.default_rng(seed)
    rows = set()
    while len(rows) < num_items:
      # Skewed, so that nodes have one child, a few, or very many.
      row = 3 + (rng.random(num_levels) ** 2 * (vocab_size - 3)).astype(int)
      if variable:
        end = rng.integers(1, num_levels + 1)
        row[end:] = 0
        row[end : end + 1] = 1
      rows.add(tuple(row))
    rows = np.array(sorted(rows), np.int32)
    return rows[rng.permutation(num_items)]

  return draw
