"""Costs: operations by hand, memory of known arrays, sides that take turns."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from genrec_jax.answering.serving import make_block_states
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.data.batch_plans import PlannedBatch
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.measuring import cost, timing
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.types import GenrecError

CONFIG = T5Config(
  vocab_size=128,
  emb_dim=64,
  num_heads=4,
  head_dim=16,
  mlp_dim=256,
  num_encoder_layers=3,
  num_decoder_layers=2,
)
WIDTH, BEAMS, ROWS = 24, 12, 3
# Every code of the first level has eight children: nothing is known early.
ITEMS = np.array([[3 + i, 40 + j] for i in range(20) for j in range(8)])


def count_by_hand(config, *, num_layers_kept=0):
  """Returns the operations of a request's matrix products."""
  width, inner = config.emb_dim, config.num_heads * config.head_dim
  mlp = 2 * width * config.mlp_dim * (len(config.mlp_activations) + 1)

  def attend(queries, keys):
    return 2 * 2 * queries * keys * inner

  encoder_layer = WIDTH * (4 * 2 * width * inner + mlp) + attend(WIDTH, WIDTH)
  num_layers = config.num_encoder_layers - num_layers_kept
  total = num_layers * encoder_layer
  # The bias of positions is a product with one-hot buckets, once a batch.
  buckets = 2 * config.relative_attention_num_buckets * config.num_heads
  total += buckets * WIDTH * WIDTH / ROWS
  total += config.num_decoder_layers * 2 * 2 * WIDTH * width * inner
  for step, rows in enumerate((1, BEAMS)):
    layer = rows * (6 * 2 * width * inner + mlp)
    layer += attend(rows, step + 1) + attend(rows, WIDTH)
    total += config.num_decoder_layers * layer
    total += rows * 2 * width * config.vocab_size
  return total


def analyse(config, **settings):
  model = EncoderDecoder(Transformer(config))
  return cost.analyse_search(
    model,
    cost._abstract_params(model),
    build_trie(ITEMS),
    rows=ROWS,
    width=WIDTH,
    num_beams=BEAMS,
    **settings,
  )


@pytest.mark.parametrize('gated', [False, True])
def test_operations_are_those_counted_by_hand(gated):
  """And some for what is no matrix product."""
  config = CONFIG
  if gated:
    config = dataclasses.replace(config, mlp_activations=('gelu', 'linear'))
  found = analyse(config).flops / ROWS
  by_hand = count_by_hand(config)
  assert by_hand < found < 1.1 * by_hand


def test_layers_that_are_scanned_are_all_counted():
  scanned = analyse(dataclasses.replace(CONFIG, scan_layers=True))
  assert scanned.flops == analyse(CONFIG).flops


def test_kept_layers_are_saved():
  config = dataclasses.replace(
    CONFIG, num_block_local_layers=2, item_token_ranges=((3, 40), (40, 60))
  )
  whole = analyse(config)
  kept = analyse(config, table_rows=500)
  saved = count_by_hand(config) - count_by_hand(config, num_layers_kept=2)
  assert whole.flops - kept.flops == pytest.approx(ROWS * saved, rel=0.1)
  # The table is held, and the input's rows in it beside its tokens.
  more = 4 * (500 * CONFIG.emb_dim + ROWS * WIDTH)
  assert kept.bytes_held - whole.bytes_held == more


def test_memory_holds_parameters_and_catalogue():
  model = EncoderDecoder(Transformer(CONFIG))
  params = cost._abstract_params(model)
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  trie = cost.count_bytes(jax.tree.leaves(build_trie(ITEMS)))
  found = analyse(CONFIG)
  assert found.bytes_held == 4 * count + trie + 4 * ROWS * WIDTH
  # At least the keys and values that all beams share are made on the way.
  shared = 2 * 2 * 4 * ROWS * WIDTH * CONFIG.emb_dim
  assert found.bytes_peak > found.bytes_held + shared


def test_arrays_are_counted_once_wherever_they_are():
  array = np.zeros(1000, np.float32)
  thing = types.SimpleNamespace(
    a=array, again={'b': array}, view=array[:10], c=[np.zeros(3)], d='text'
  )
  thing.itself = thing
  assert cost.count_bytes(thing) == 4024
  assert cost.count_bytes(types.SimpleNamespace(view=array[5:])) == 4000


def test_sides_answer_in_turns_and_are_told_by_batch():
  asked = []

  def side(name, seconds):
    def answer():
      asked.append(name)
      return [(seconds, seconds / 2), (3 * seconds, seconds)]

    return answer

  found = timing.take_turns(
    {'a': side('a', 0.1), 'b': side('b', 0.2)}, requests=4, rounds=2
  )
  assert ''.join(asked) == 'ababab'
  told = found['a'].describe()
  assert told['requests_per_second'] == pytest.approx(4 / 0.2)
  assert told['cpu_ms_per_request'] == pytest.approx(75 / 4)
  assert told['p50_ms'] == pytest.approx(200)
  assert found['b'].seconds.shape == (2, 2)


def test_model_and_baseline_are_measured_on_the_same_requests(run):
  examples = run.cache.examples('sequential', 'validation')
  plan = cost.full_batches(examples, 8, (16, 24))
  fitted = ItemKNN().fit(
    np.repeat(np.arange(10), 4),
    np.arange(40) % 13,
    len(run.cache.item_tokens),
  )
  found = cost.measure(
    {
      'model': cost.model_contender(run, examples, plan, num_beams=5),
      'item_knn': cost.baseline_contender(fitted, examples, plan, top_k=5),
    },
    plan,
    rounds=1,
  )
  model, baseline = found['model'], found['item_knn']
  assert model.keys() == baseline.keys()
  assert model['flops_per_request'] > 1e5
  assert baseline['flops_per_request'] is None
  for costs in found.values():
    assert 0 < costs['p50_ms'] <= costs['p95_ms']
    assert costs['requests_per_second'] > 0
    assert 0 < costs['bytes_held'] < costs['bytes_peak']


def test_batches_are_full_or_refused(run):
  examples = run.cache.examples('sequential', 'validation')
  plan = cost.full_batches(examples, 16, (24,))
  assert len(plan) == len(examples) // 16
  assert all(isinstance(batch, PlannedBatch) for batch in plan)
  with pytest.raises(GenrecError, match='do not fill a batch of 1000'):
    cost.full_batches(examples, 1000, (24,))


def test_a_model_that_sees_all_keeps_nothing(run):
  with pytest.raises(GenrecError, match='no layers that see blocks alone'):
    make_block_states(run)
