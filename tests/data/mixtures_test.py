"""Rates of a mixture are those that SeqIO computes for the same examples."""

import pytest
import seqio

from genrec_jax.data.mixtures import mixing_rates
from genrec_jax.types import GenrecError

COUNTS = {'sequential': 131_413, 'review': 7_300, 'explanation': 2_941}


@pytest.mark.parametrize('cap', [None, 5000])
@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_rates_are_those_of_seqio(cap, temperature):
  rates = mixing_rates(COUNTS, cap=cap, temperature=temperature)
  tasks = {
    name: seqio.Task(
      name,
      source=seqio.FunctionDataSource(
        lambda split, shuffle_files, seed=None: None,
        splits=['train'],
        num_input_examples={'train': count},
      ),
      output_features={},
    )
    for name, count in COUNTS.items()
  }
  weights = {
    name: seqio.mixing_rate_num_examples(
      task, **({} if cap is None else {'maximum': cap}), temperature=temperature
    )
    for name, task in tasks.items()
  }
  for name, weight in weights.items():
    expected = weight / sum(weights.values())
    assert rates[name] == pytest.approx(expected, rel=1e-6)
  assert sum(rates.values()) == pytest.approx(1)


@pytest.mark.parametrize(
  ('counts', 'settings', 'message'),
  [
    ({'a': 3, 'b': 0}, {}, "nothing to mix of .*'b'"),
    ({}, {}, 'no tasks'),
    ({'a': 3}, {'cap': 0}, 'cap of 0'),
    ({'a': 3}, {'temperature': 0.0}, 'temperature 0.0'),
  ],
)
def test_what_cannot_be_mixed(counts, settings, message):
  with pytest.raises(GenrecError, match=message):
    mixing_rates(counts, **settings)
