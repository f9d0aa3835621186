"""`genrec measure_hallucination` on a trained run, and how a study reads it."""

import json

import pytest

from genrec_jax.experiments import measures
from genrec_jax.measure_hallucination import measure_hallucination
from genrec_jax.types import GenrecError


def test_each_way_of_decoding_is_a_row_and_the_trie_invents_nothing(
  run, capsys
):
  found = measure_hallucination(
    run_dir=run.directory,
    model=run.model,
    checkpoint='last',
    task='sequential',
    beams=(1, 4),
    temperatures=(1.0,),
    num_drawn=3,
    max_examples=12,
  )
  names = ['trie, greedy', 'trie, 4 beams', 'free, greedy', 'free, 4 beams']
  assert list(found['rows']) == [*names, 'free, 3 drawn at 1']
  shares = {name: row['no_item'] for name, row in found['rows'].items()}
  assert all(shares[name]['mean'] == 0 for name in names[:2])
  # Eight steps of training are not enough to know what an item is.
  assert shares['free, 3 drawn at 1']['mean'] > 0.5
  assert found['sample'] == {'examples': 12, 'of': 40, 'seed': 0}
  path = run.directory / 'hallucination/validation/sequential.json'
  assert json.loads(path.read_text())['rows'] == found['rows']
  assert 'free, 4 beams' in capsys.readouterr().out
  rows = measures.invented_items(run.directory)
  assert [row['decoding'] for row in rows] == list(found['rows'])
  # Widths are drawn of searches without the trie alone.
  assert [row['beams'] for row in rows] == [None, None, 1, 4, None]
  assert rows[3]['no item'] == shares['free, 4 beams']['mean']
  assert rows[0]['combinations an item'] == pytest.approx(64 * 64 / 339)


@pytest.mark.parametrize(
  ('asked', 'said'),
  [
    ({'split': 'train'}, "split 'train'"),
    ({'beams': (0,)}, 'num_beams=0'),
    ({'temperatures': (-1.0,)}, 'temperature'),
    ({'task': 'rating'}, 'rating'),
  ],
)
def test_what_cannot_be_decoded_is_refused(run, asked, said):
  with pytest.raises(GenrecError, match=said):
    measure_hallucination(
      run_dir=run.directory, model=run.model, checkpoint='last', **asked
    )
