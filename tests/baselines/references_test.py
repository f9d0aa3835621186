"""Tests of the published numbers."""

import pathlib
import tomllib

import pytest

REFERENCES = pathlib.Path(__file__).parents[2] / 'configs' / 'references'


@pytest.mark.parametrize('path', sorted(REFERENCES.glob('*.toml')))
def test_published_numbers_have_a_source_and_can_be_true(path):
  table = tomllib.loads(path.read_text())
  assert table['dataset'] == path.stem and table['protocol']
  methods = [row['method'] for row in table['rows']]
  assert len(set(methods)) == len(methods) > 10
  for row in table['rows']:
    assert row['read_in'] in ('repository', 'paper, transcribed', 'issue')
    metrics = row['metrics']
    for name in metrics:
      assert name in ('recall@5', 'ndcg@5', 'recall@10', 'ndcg@10')
    for cutoff in ('5', '10'):
      recall = metrics.get(f'recall@{cutoff}', 1)
      assert 0 < metrics.get(f'ndcg@{cutoff}', 1e-9) <= recall
    for kind in ('recall', 'ndcg'):
      assert metrics.get(f'{kind}@5', 0) < metrics.get(f'{kind}@10', 1)
