"""`genrec measure_search`: beams beside exact scores of all items."""

import json

import numpy as np
import pytest

from genrec_jax.answering.items import rank_items
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.measure_search import measure_search
from genrec_jax.measuring.search import exact_lists
from genrec_jax.types import GenrecError


def search(run, **asked):
  return measure_search(
    run_dir=run.directory,
    model=run.model,
    checkpoint='last',
    task='sequential',
    **asked,
  )


@pytest.mark.parametrize('normalization', ['vocabulary', 'children'])
def test_as_many_beams_as_items_find_what_is_exact(run, normalization, capsys):
  everything = len(run.cache.item_tokens)
  rows = search(
    run, beams=(2, everything), max_examples=9, normalization=normalization
  )['rows']
  assert list(rows) == ['2 beams', f'{everything} beams', 'exact']
  wide, exact = rows[f'{everything} beams'], rows['exact']
  # Equal scores may stand in another order.
  assert wide['found'] > 0.98 and wide['score_lost'] == pytest.approx(
    0, abs=1e-5
  )
  assert wide['recall'] == exact['recall']
  assert exact['found'] == exact['same'] == 1 and exact['score_lost'] == 0
  narrow = rows['2 beams']
  assert narrow['places'] == 2 and narrow['found'] <= 0.2
  assert narrow['same'] == 0 and narrow['score_lost'] >= 0
  path = run.directory / 'search' / 'sequential.json'
  assert json.loads(path.read_text())['rows'] == rows
  assert '2 beams' in capsys.readouterr().out


def test_exact_lists_leave_out_what_was_seen(run):
  examples = take_examples(
    run.cache.examples('sequential', 'validation'), np.arange(5)
  )
  items, scores = exact_lists(run, examples, top_k=20)
  for row, history in enumerate(map(examples.history.__getitem__, range(5))):
    assert not set(items[row]) & set(history.tolist())
    assert len(set(items[row])) == 20
  assert (np.diff(scores, axis=1) <= 0).all()
  # The same scores as a search gives to the items that it finds.
  lists = rank_items(run, examples, num_beams=50)
  for row in range(5):
    of_search = dict(zip(lists.items[row].tolist(), lists.scores[row]))
    for item, score in zip(items[row].tolist(), scores[row]):
      if item in of_search:
        assert score == pytest.approx(of_search[item], abs=1e-4)
  seen, _ = exact_lists(run, examples, exclude_seen=False)
  assert seen.shape == (5, 10)


def test_a_width_of_nothing_is_refused(run):
  with pytest.raises(GenrecError, match='num_beams|beams'):
    search(run, beams=(0,), max_examples=3)
