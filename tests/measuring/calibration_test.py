"""Which probabilities are held against which outcomes."""

import numpy as np
import pytest
import scipy.special
from sklearn.metrics import brier_score_loss

from genrec_jax.decoding.recommend import Lists
from genrec_jax.evaluation import results
from genrec_jax.measuring.choices import calibrate_choices
from genrec_jax.measuring.items import calibrate_lists
from genrec_jax.reporting import charts
from genrec_jax.reporting.calibration_section import calibration_section


def make_lists(seed=0, num_lists=60, width=12, num_items=30):
  """Returns lists whose scores are log-probabilities of 30 items."""
  rng = np.random.default_rng(seed)
  p = rng.dirichlet(np.full(num_items, 0.3), num_lists)
  items = np.argsort(-p, axis=1)[:, :width].astype(np.int32)
  with np.errstate(divide='ignore'):
    scores = np.log(np.take_along_axis(p, items, axis=1)).astype(np.float32)
  target = np.array([rng.choice(num_items, p=row) for row in p])
  items[-1, 2:], scores[-1, 2:] = -1, -np.inf
  return Lists(items, scores, np.zeros((num_lists, width, 2), np.int32)), target


def test_lists_say_how_likely_they_hold_the_target():
  lists, target = make_lists()
  found = calibrate_lists(lists, target)
  assert list(found) == ['the first item', 'the first 10 items']
  for k, measured in zip((1, 10), found.values()):
    hit = [goal in row for goal, row in zip(target, lists.items[:, :k])]
    p = [sum(np.exp(row)) for row in lists.scores[:, :k].astype(float)]
    assert measured['brier'] == pytest.approx(
      brier_score_loss(hit, np.minimum(p, 1)), rel=1e-5
    )
    assert measured['outcome'] == np.mean(hit)
    assert measured['n'] == 60
  # Targets were drawn by the scores.
  assert found['the first item']['p_value'] > 0.05
  short = calibrate_lists(
    Lists(lists.items[:, :3], lists.scores[:, :3], lists.tokens), target
  )
  assert list(short) == ['the first item', 'the first 3 items']


def test_choices_are_held_against_the_true_one():
  rng = np.random.default_rng(0)
  scores, values = rng.normal(size=(80, 5)), np.arange(1.0, 6)
  truth = rng.integers(1, 6, 80).astype(float)
  truth[0] = 2.5  # no choice: none of them comes true
  found = calibrate_choices(scores, values, truth)
  p = scipy.special.softmax(scores, axis=1)
  true = truth[:, None] == values
  every = found['every choice']
  assert every['n'] == 400
  assert every['brier'] == pytest.approx(
    brier_score_loss(true.ravel(), p.ravel())
  )
  best = found['the likeliest choice']
  assert best['probability'] == pytest.approx(p.max(axis=1).mean())
  assert best['outcome'] == pytest.approx(
    np.mean([values[row.argmax()] for row in p] == truth)
  )


def test_it_is_printed_and_drawn():
  lists, target = make_lists()
  result = {'calibration': calibrate_lists(lists, target)}
  told = results.format_calibration(result)
  ece = result['calibration']['the first item']['ece']
  assert f'{ece:.4f}' in told and results.format_calibration({}) == ''
  section = calibration_section(result)
  names = [row['name'] for row in section['tables'][0]['rows']]
  assert names == ['the first item', 'the first 10 items']
  for name in names:
    for one in result['calibration'][name]['curve']:
      assert (
        f'{name} ({one["n"]:,.0f} examples):'
        f' {charts.write_number(one["probability"])},'
        f' {charts.write_number(one["outcome"])}<'
      ) in section['figures'][0]
  assert calibration_section({}) is None
