"""The command that measures costs."""

import json

import pytest

from genrec_jax.measure_cost import measure_cost
from genrec_jax.types import GenrecError


def test_costs_of_model_and_pipeline_are_written(run, capsys):
  found = measure_cost(
    run_dir=run.directory,
    model=run.model,
    task='sequential',
    checkpoint='last',
    num_beams=5,
    batch_sizes=(8,),
    num_requests=16,
    num_widths=1,
    methods='popularity,multi_stage',
    rounds=1,
  )
  path = run.directory / 'cost' / 'sequential.json'
  assert json.loads(path.read_text()) == json.loads(json.dumps(found))
  costs = found['costs']['8']
  assert [*costs] == ['model', 'popularity', 'multi_stage']
  assert costs['multi_stage']['bytes_held'] > costs['popularity']['bytes_held']
  assert found['fit_seconds'].keys() == {'popularity', 'multi_stage'}
  table = capsys.readouterr().out
  for word in ('multi_stage', 'MFLOP/request', 'unknown', '2 batches of 8'):
    assert word in table


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'split': 'train'}, 'expected one of: test, validation'),
    ({'rounds': 0}, 'rounds=0'),
    ({'methods': 'ease,magic'}, "Unknown method 'magic'"),
  ],
)
def test_what_cannot_be_is_refused(run, settings, message):
  with pytest.raises(GenrecError, match=message):
    measure_cost(run_dir=run.directory, model=run.model, **settings)
