"""What `genrec export` writes of a run."""

import dataclasses
import json

import numpy as np
import optax
import pytest

from genrec_jax.data.token_cache import TokenCache
from genrec_jax.evaluate import evaluate
from genrec_jax.exchange.items import read_catalogue, write_items
from genrec_jax.export import export
from genrec_jax.ids.new_items import NewItems
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import Transformer
from genrec_jax.types import GenrecError


@pytest.mark.filterwarnings('ignore')  # numba's, of ranx
def test_another_evaluator_finds_what_was_measured(run, monkeypatch):
  monkeypatch.setenv('NUMBA_DISABLE_JIT', '1')  # compiling takes a minute
  import ranx

  measured = evaluate(
    run_dir=run.directory,
    model=run.model,
    tasks='sequential',
    checkpoint='last',
    num_beams=64,
    baselines=(),
  )['sequential']['metrics']['model']['all']
  directory = export(run_dir=run.directory, model=run.model, format='rankings')
  qrels = ranx.Qrels.from_file(str(directory / 'qrels.trec'), kind='trec')
  lists = ranx.Run.from_file(str(directory / 'run_model.trec'), kind='trec')
  names = ['recall@5', 'recall@10', 'ndcg@5', 'ndcg@10', 'mrr']
  found = ranx.evaluate(qrels, lists, names)
  assert measured['mrr'] > 0
  for name in names:
    assert found[name] == pytest.approx(measured[name], abs=1e-9)
  manifest = json.loads((directory / 'manifest.json').read_text())
  assert manifest['metrics']['model']['all'] == measured


def test_new_items_stand_behind_those_of_the_run(run, tmp_path):
  cache = TokenCache.load(run.directory / 'tokens')
  taken = set(map(tuple, cache.item_tokens.tolist()))
  offsets = np.array(run.layout.level_offsets)
  free = next(
    [i, j]
    for i, j in np.ndindex(64, 64)
    if (i + offsets[0], j + offsets[1]) not in taken
  )
  NewItems(
    codes=np.array([free], np.int32),
    records=({'item_id': 'fresh', 'name': 'A fresh one'},),
    inputs={'ids': cache.manifest['inputs']['ids']},
  ).save(tmp_path / 'new_items')
  extended, item_ids = read_catalogue(tmp_path, cache, new_items=True)
  assert item_ids is None  # without a dataset
  write_items(tmp_path, extended, item_ids)
  lines = (tmp_path / 'items.jsonl').read_text().splitlines()
  assert len(lines) == len(cache.item_tokens) + 1
  assert json.loads(lines[-1]) == {
    'item': len(lines) - 1,
    'name': 'A fresh one',
    'tokens': (free + offsets).tolist(),
  }
  same, _ = read_catalogue(tmp_path, cache, new_items=False)
  assert same is cache


def test_an_unknown_format_names_those_there_are(run):
  with pytest.raises(GenrecError, match='hugging_face, program, rankings, t5x'):
    export(run_dir=run.directory, model=run.model, format='onnx')


def test_a_checkpoint_of_another_model_is_refused(run):
  config = dataclasses.replace(run.model.module.config, mlp_dim=8)
  other = EncoderDecoder(Transformer(config), optimizer_def=optax.sgd(0.1))
  with pytest.raises(GenrecError, match=r'mlp/wi/kernel is \(16, 16\) there'):
    export(run_dir=run.directory, model=other, format='t5x', checkpoint='last')
  assert not (run.directory / 'exports' / 't5x').exists()
