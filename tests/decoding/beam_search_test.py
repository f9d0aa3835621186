"""The search finds what a slow reference finds, and only items."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from genrec_jax.decoding import beam_search as search
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.types import GenrecError

# Each example of other shapes compiles; a few are enough to find a slip.
FEW = hypothesis.settings(
  max_examples=6,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)
VOCAB_SIZE = 12
KINDS = ('default', 'dense', 'sparse', 'exceptions', 'hybrid')


def _search(model, trie, num_beams, **options):
  run = jax.jit(
    functools.partial(
      search.beam_search,
      tokens_to_logits=model.tokens_to_logits,
      batch_size=len(model.start),
      num_beams=num_beams,
      **options,
    )
  )
  return jax.tree.map(np.asarray, run(trie, cache=model.cache()))


@FEW
@hypothesis.given(
  seed=strategies.integers(0, 1000),
  num_levels=strategies.integers(1, 4),
  variable=strategies.booleans(),
  normalization=strategies.sampled_from(search.NORMALIZATIONS),
  kind=strategies.sampled_from(KINDS),
)
def test_a_wide_beam_equals_scoring_every_item(
  toy_model,
  reference,
  draw_catalogue,
  seed,
  num_levels,
  variable,
  normalization,
  kind,
  trie_kinds,
):
  num_items = {1: 8}.get(num_levels, 30)
  variable = variable and num_levels > 1
  item_tokens = draw_catalogue(
    seed, num_items, num_levels, VOCAB_SIZE, variable=variable
  )
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE, seed=seed)
  slow = reference(model, item_tokens, normalization)
  trie = build_trie(item_tokens, thresholds=trie_kinds[kind])
  found = _search(model, trie, num_items + 3, normalization=normalization)
  assert found.valid[:, :num_items].all()
  for request in range(2):
    exact = np.array([slow.score(request, item) for item in range(num_items)])
    items = found.items[request, :num_items]
    assert sorted(items) == list(range(num_items))
    np.testing.assert_allclose(
      found.scores[request, :num_items], exact[items], rtol=1e-5, atol=1e-5
    )


@FEW
@hypothesis.given(
  seed=strategies.integers(0, 1000),
  num_beams=strategies.integers(1, 12),
  variable=strategies.booleans(),
  normalization=strategies.sampled_from(search.NORMALIZATIONS),
  kind=strategies.sampled_from(KINDS),
)
def test_a_narrow_beam_equals_a_textbook_search(
  toy_model,
  reference,
  draw_catalogue,
  trie_kinds,
  seed,
  num_beams,
  variable,
  normalization,
  kind,
):
  """Over enough codes that bitmaps have several words."""
  item_tokens = draw_catalogue(seed, 50, 3, 80, variable=variable)
  model = toy_model(batch_size=3, vocab_size=80, seed=seed)
  rng = np.random.default_rng(seed)
  exclude = rng.integers(-1, 50, (3, 20)).astype(np.int32)
  found = _search(
    model,
    build_trie(item_tokens, thresholds=trie_kinds[kind]),
    num_beams,
    normalization=normalization,
    exclude=exclude,
  )
  assert (np.diff(found.scores, axis=1) <= 0).all()
  slow = reference(model, item_tokens, normalization)
  for request in range(3):
    excluded = set(exclude[request].tolist())
    scores, items = zip(*slow.search(request, num_beams, excluded))
    assert found.items[request].tolist() == list(items)
    np.testing.assert_allclose(
      found.scores[request], scores, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(
      found.tokens[request], item_tokens[found.items[request]]
    )


def test_fewer_items_than_beams_are_marked(toy_model, draw_catalogue):
  item_tokens = draw_catalogue(3, 6, 3, VOCAB_SIZE)
  model = toy_model(batch_size=2, vocab_size=VOCAB_SIZE)
  exclude = np.array([[0, 0, -1, 4, 99], [0, 1, 2, 3, 4]], np.int32)
  found = _search(model, build_trie(item_tokens), 8, exclude=exclude)
  np.testing.assert_array_equal(found.valid.sum(1), [4, 1])
  assert set(found.items[0, :4]) == {1, 2, 3, 5}
  assert found.items[1, 0] == 5
  for empty in (found.items + 1, found.tokens.any(-1), found.scores > -np.inf):
    assert not empty[~found.valid].any()


def test_a_request_that_excludes_everything_gets_nothing(
  toy_model, draw_catalogue
):
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  trie = build_trie(draw_catalogue(3, 6, 3, VOCAB_SIZE))
  found = _search(model, trie, 2, exclude=np.arange(6, dtype=np.int32)[None])
  assert not found.valid.any()


def test_equal_scores_come_in_the_order_of_rows(draw_catalogue):
  item_tokens = draw_catalogue(4, 50, 3, VOCAB_SIZE)
  trie = build_trie(item_tokens)

  def constant_logits(tokens, cache, block):
    return jnp.zeros((*tokens.shape, VOCAB_SIZE)), cache

  found = jax.jit(
    lambda trie: search.beam_search(trie, constant_logits, {}, 1, 20)
  )(trie)
  np.testing.assert_array_equal(found.items[0], trie.row_to_item[:20])


def test_other_exclusions_and_weights_do_not_recompile(
  toy_model, draw_catalogue
):
  model = toy_model(batch_size=1, vocab_size=VOCAB_SIZE)
  trie = build_trie(draw_catalogue(5, 20, 3, VOCAB_SIZE))
  traced = []

  def tokens_to_logits(tokens, cache, block):
    traced.append(tokens.shape)
    return model.tokens_to_logits(tokens, cache, block)

  @jax.jit
  def run(trie, cache, exclude):
    return search.beam_search(
      trie, tokens_to_logits, cache, 1, 20, exclude=exclude
    ).items

  first = np.asarray(run(trie, model.cache(), np.full((1, 3), -1, np.int32)))
  without_best = np.array([[-1, first[0, 0], -1]], np.int32)
  second = np.asarray(run(trie, model.cache(), without_best))
  assert len(traced) == trie.num_levels
  np.testing.assert_array_equal(second[0, :19], first[0, 1:])


@pytest.mark.parametrize(
  'options, message',
  [
    ({'normalization': 'none'}, 'children, level, vocabulary'),
    ({'num_beams': 0}, 'at least 1'),
    ({'vocab_size': 5}, 'has 5 tokens'),
  ],
)
def test_refuses_impossible_searches(draw_catalogue, options, message):
  vocab_size = options.pop('vocab_size', VOCAB_SIZE)
  arguments = {'num_beams': 2, **options}
  with pytest.raises(GenrecError, match=message):
    search.beam_search(
      build_trie(draw_catalogue(0, 5, 3, VOCAB_SIZE)),
      lambda tokens, cache, block: (
        jnp.zeros((*tokens.shape, vocab_size)),
        cache,
      ),
      {},
      1,
      **arguments,
    )


@pytest.mark.parametrize('normalization', search.NORMALIZATIONS)
@pytest.mark.parametrize('doubled', [False, True])
def test_known_tails_are_scored_in_one_call(
  toy_model, reference, normalization, doubled
):
  """Doubled: an item that is not alone, so beams may have to step on."""
  rng = np.random.default_rng(0)
  item_tokens = rng.integers(3, VOCAB_SIZE, (300, 5))
  item_tokens[:, :2] = np.stack(np.divmod(np.arange(300), 30), axis=1) + 3
  if doubled:
    item_tokens[1, :4] = item_tokens[0, :4]
  model = toy_model(batch_size=2, vocab_size=40)
  model.head[:, 3] += 3  # the first token of items 0 to 29
  calls = []

  def tokens_to_logits(tokens, cache, block):
    calls.append(tokens.shape[1])
    return model.tokens_to_logits(tokens, cache, block)

  trie = build_trie(item_tokens)
  assert trie.tail_depth == 2
  found = jax.jit(
    lambda trie, cache: search.beam_search(
      trie, tokens_to_logits, cache, 2, 30, normalization=normalization
    )
  )(trie, model.cache())
  assert calls == [1, 1] + [3] * (normalization != 'children') + [1, 1, 1]
  slow = reference(model, item_tokens, normalization)
  for request in range(2):
    scores, items = zip(*slow.search(request, 30))
    assert found.items[request].tolist() == list(items)
    np.testing.assert_allclose(found.scores[request], scores, rtol=1e-5)
    np.testing.assert_array_equal(
      found.tokens[request], item_tokens[np.array(items)]
    )


@pytest.mark.parametrize('kind', ['dense', 'sparse', 'hybrid'])
@pytest.mark.parametrize('normalization', search.NORMALIZATIONS)
def test_titles_are_ids_in_a_text_vocabulary(
  toy_model, reference, draw_catalogue, trie_kinds, kind, normalization
):
  """Pieces of one vocabulary at every place, with pad and eos inside it."""
  vocab_size = 80
  item_tokens = draw_catalogue(3, 60, 4, vocab_size, variable=True)
  trie = build_trie(
    item_tokens, blocks=[range(vocab_size)] * 4, thresholds=trie_kinds[kind]
  )
  assert not any(alphabet.num_special for alphabet in trie.alphabets)
  model = toy_model(batch_size=2, vocab_size=vocab_size)
  found = _search(model, trie, 9, normalization=normalization)
  slow = reference(model, item_tokens, normalization)
  slow.alphabets = [
    set(range(vocab_size)),
    *[set(range(1, vocab_size)) for _ in range(3)],
  ]
  for request in range(2):
    scores, items = zip(*slow.search(request, 9))
    assert found.items[request].tolist() == list(items)
    np.testing.assert_allclose(
      found.scores[request], scores, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('kind', KINDS)
def test_bfloat16_logits_are_scored_exactly_and_ties_go_by_row(
  draw_catalogue, trie_kinds, kind
):
  """Few values, so many ties; a beam as wide as the catalogue."""
  item_tokens = draw_catalogue(8, 200, 3, 80)
  trie = build_trie(item_tokens, thresholds=trie_kinds[kind])
  rng = np.random.default_rng(0)
  logits = jnp.asarray(rng.integers(-3, 3, (3, 80)), jnp.bfloat16)

  def run(trie, num_beams):
    levels = iter(logits)

    def tokens_to_logits(tokens, cache, block):
      of_level = jnp.broadcast_to(next(levels), (*tokens.shape, 80))
      return of_level, cache

    return search.beam_search(
      trie, tokens_to_logits, {}, 1, num_beams, force_tails=False
    )

  exact = np.asarray(logits, np.float64)
  exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
  scores = exact[np.arange(3), item_tokens].sum(axis=1)
  wide = jax.jit(run, static_argnums=1)(trie, 200)
  np.testing.assert_allclose(
    wide.scores[0], np.sort(scores)[::-1], rtol=1e-5, atol=1e-5
  )
  found = np.asarray(wide.scores[0])
  row = np.asarray(trie.item_to_row)[np.asarray(wide.items[0])]
  equal = found[1:] == found[:-1]
  assert equal.sum() > 100
  assert (np.diff(row)[equal] > 0).all()


def test_tails_whose_logits_take_too_much_memory_are_stepped(
  toy_model, monkeypatch
):
  item_tokens = np.random.default_rng(0).integers(3, 40, (50, 5))
  trie = build_trie(item_tokens, blocks=[range(3, 40)] * 5)
  model = toy_model(batch_size=1, vocab_size=40)
  calls = []

  def tokens_to_logits(tokens, cache, block):
    calls.append(tokens.shape[1])
    return model.tokens_to_logits(tokens, cache, block)

  length = 5 - trie.tail_depth
  for most, longest in ((7 * length * 40, length), (7 * length * 40 - 1, 1)):
    calls.clear()
    monkeypatch.setattr(search, 'MOST_TAIL_LOGITS', most)
    jax.eval_shape(
      lambda trie: search.beam_search(
        trie, tokens_to_logits, model.cache(), 1, 7
      ),
      trie,
    )
    assert max(calls) == longest
