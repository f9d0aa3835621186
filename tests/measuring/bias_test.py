"""What accuracy hides, from the command's function to the page."""

import jax
import numpy as np
import pytest

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.data.dataset import Dataset
from genrec_jax.decoding.catalogue_scores import score_catalogue
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.evaluate import evaluate
from genrec_jax.evaluation import ranking, results
from genrec_jax.measuring import penalties
from genrec_jax.measuring.bias import TARGETS, measure_bias, measure_groups
from genrec_jax.measuring.train_data import TrainData
from genrec_jax.report import report
from genrec_jax.types import GenrecError

SETTINGS = {'checkpoint': 'last', 'num_beams': 20, 'batch_size': 64}


@pytest.fixture(scope='module')
def measured(run):
  result = evaluate(
    run_dir=run.directory,
    model=run.model,
    split='test',
    tasks='sequential',
    **SETTINGS,
  )['sequential']
  return result, results.read_result(run.directory, 'test', 'sequential')[1]


def test_what_is_written_is_counted_from_the_lists(run, data, measured):
  result, arrays = measured
  assert list(result['bias']['rows']) == [*result['metrics'], TARGETS]
  assert result['bias']['k'] == 10
  _, item = data.interactions()
  counts = np.bincount(item, minlength=data.dataset.num_items)
  for name in result['metrics']:
    lists, row = arrays[f'items_{name}'][:, :10], result['bias']['rows'][name]
    assert (lists >= 0).all()
    assert row['coverage'] == len(np.unique(lists)) / len(counts)
    assert row['arp'] == pytest.approx(counts[lists].mean())
    first = run.cache.item_tokens[:, 0]
    shown, trained = (
      np.bincount(first[items], minlength=first.max() + 1) / items.size
      for items in (lists.ravel(), item)
    )
    assert row['first_token'] == pytest.approx(abs(shown - trained).sum() / 2)
  assert result['bias']['rows']['popularity']['serendipity'] == 0
  chosen = result['bias']['rows'][TARGETS]
  assert chosen['arp'] == pytest.approx(counts[arrays['target']].mean())
  for shares in result['bias']['shares'].values():
    assert sum(shares) == pytest.approx(1)


def test_groups_are_means_of_their_examples(data, measured):
  result, arrays = measured
  recall = ranking.example_metrics(
    arrays['items_model'], arrays['target'], [10]
  )['recall@10']
  for kind, of_kind in result['groups'].items():
    groups = of_kind['model']['recall@10']['groups']
    assert sum(g['n'] for g in groups.values()) == len(recall), kind
    total = sum(g['n'] * g['mean'] for g in groups.values())
    assert total == pytest.approx(recall.sum()), kind
  user, _ = data.interactions()
  active = np.bincount(user, minlength=data.dataset.num_users)[arrays['user']]
  for label, group in result['groups']['activity']['model']['recall@10'][
    'groups'
  ].items():
    low, *high = (int(end) for end in label.split(' to '))
    own = (active >= low) & (active <= (high or [low])[0])
    assert group['n'] == own.sum()
    assert group['mean'] == pytest.approx(recall[own].mean())


def test_columns_of_users_make_groups(run, data, measured):

  _, arrays = measured
  kind = ['even' if n % 2 else 'odd' for n in range(data.dataset.num_users)]
  users = data.dataset.users.append_column('kind', [kind])
  users = users.append_column('tags', [[['x']] * len(kind)])
  values = {
    name: getattr(data.dataset, name)
    for name in ('name', 'interactions', 'items', 'dialogues', 'facts')
  }
  known = TrainData(Dataset(users=users, **values), data.split)
  examples = run.cache.examples('sequential', 'test')
  found = measure_groups({'model': arrays['items_model']}, examples, known)
  groups = found['kind']['model']['recall@10']['groups']
  assert groups['even']['n'] == (examples.user % 2 == 1).sum()
  assert 'user_id' not in found


def test_what_is_no_surprise_does_not_hang_on_a_row(run, data, measured):
  result, arrays = measured
  alone = measure_bias(
    {'model': arrays['items_model']},
    run.cache.examples('sequential', 'test'),
    data,
    run.cache.item_tokens,
    exclude_seen=True,
  )
  assert alone['rows']['model'] == result['bias']['rows']['model']


def test_it_is_printed_and_shown(run, measured, capsys):
  result, _ = measured
  told = results.format_bias(result)
  assert f'{result["bias"]["rows"]["model"]["coverage"]:.4g}' in told
  html = report(run_dir=run.directory).read_text()
  assert html.count('What accuracy hides') == 1
  assert (
    f'<td>{TARGETS}</td>' in html and '<td>activity (3 groups)</td>' in html
  )
  assert 'Who is served: recall@10' in capsys.readouterr().out


def test_results_without_it_still_read(run, measured, tmp_path):
  result, arrays = measured
  for name in ('dataset', 'ids', 'tokens'):
    (tmp_path / name).symlink_to(run.directory / name)
  old = {k: v for k, v in result.items() if k not in ('bias', 'groups')}
  answers = {k: v for k, v in arrays.items() if k not in ('split', 'task')}
  results.write_result(tmp_path, old, answers)
  assert results.format_bias(old) == ''
  html = report(run_dir=tmp_path).read_text()
  assert 'id="sequential"' in html and 'What accuracy hides' not in html


def test_without_the_dataset_nothing_is_hidden_or_told(run):
  settings = {'run_dir': run.directory, 'model': run.model, **SETTINGS}
  result = evaluate(tasks='sequential', baselines=(), **settings)['sequential']
  assert 'bias' not in result and 'groups' not in result
  with pytest.raises(GenrecError, match='need the train interactions'):
    evaluate(
      tasks='sequential',
      baselines=(),
      popularity_penalties=(0.5,),
      max_examples=2,
      **settings,
    )


def test_short_lists_are_measured_as_far_as_they_go(run, data, measured):
  lists = measured[1]['items_model'][:, :3]
  examples = run.cache.examples('sequential', 'test')
  tokens = run.cache.item_tokens
  found = measure_bias(
    {'model': lists}, examples, data, tokens, exclude_seen=True
  )
  assert found['k'] == 3
  assert found['rows']['model']['coverage'] == len(np.unique(lists)) / len(
    tokens
  )
  groups = measure_groups({'model': lists}, examples, data)
  assert set(groups['activity']['model']) == {'recall@3', 'ndcg@3'}


def test_penalties_of_a_wide_search_are_those_of_all_items(run, data):
  """Against the exact score of every item, less its popularity."""
  chosen = (0.0, 2.0)
  result = evaluate(
    run_dir=run.directory,
    model=run.model,
    tasks='sequential',
    popularity_penalties=chosen,
    penalty_beams=10_000,
    max_examples=8,
    baselines=(ItemKNN,),
    **SETTINGS,
  )['sequential']
  assert result['popularity'] == {'penalties': [0, 2], 'num_beams': 10_000}
  arrays = results.read_result(
    run.directory, 'validation', 'sequential', subset=True
  )[1]
  examples = run.cache.examples('sequential', 'validation')
  examples = take_examples(
    examples, np.searchsorted(examples.user, arrays['user'])
  )
  assert (examples.target == arrays['target']).all()
  scores = score_all_items(run, examples)
  _, item = data.interactions()
  counts = np.bincount(item, minlength=data.dataset.num_items)
  share = (counts + 1) / (counts + 1).sum()
  for penalty in chosen:
    lists = arrays[f'items_{penalties.row_name(penalty)}']
    adjusted = scores - penalty * np.log(share)
    for example in range(8):
      adjusted[example, examples.history[example]] = -np.inf
    best = np.sort(adjusted, axis=1)[:, ::-1][:, : lists.shape[1]]
    # Items of nearly the same score may change places.
    listed = np.take_along_axis(adjusted, lists, axis=1)
    np.testing.assert_allclose(listed, best, rtol=1e-4)


def score_all_items(run, examples):
  """Returns the model's score of every item, without beams: [E, N]."""
  rows = np.arange(len(examples))
  inputs = examples.inputs.padded(rows, int(examples.inputs.lengths.max()))

  @jax.jit
  def score(params, inputs):
    tokens_to_logits, cache = run.model.start_decoding(
      params, {'encoder_input_tokens': inputs}
    )
    return score_catalogue(run.trie, tokens_to_logits, cache, len(rows))

  scores = np.asarray(score(run.params, inputs), float)
  return scores[:, : len(run.cache.item_tokens)].copy()
