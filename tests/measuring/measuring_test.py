"""Every task measured through the command's function, and what it wrote."""

import json
import shutil

import numpy as np
import pytest

from genrec_jax.answering.choices import true_liking
from genrec_jax.answering.items import name_user
from genrec_jax.baselines import protocol
from genrec_jax.baselines.dialogues import CopyContext
from genrec_jax.baselines.rating_bias import UserItemBias
from genrec_jax.baselines.texts import first_sentence
from genrec_jax.evaluate import evaluate, make_evaluate_fn
from genrec_jax.evaluation import intervals, outputs, ranking, results, text
from genrec_jax.evaluation.conversation import conversation_metrics
from genrec_jax.evaluation.rating import rating_metrics, yes_no_metrics
from genrec_jax.ledger import ledger
from genrec_jax.measuring.choices import offered_items
from genrec_jax.measuring.items import group_turns
from genrec_jax.measuring.train_data import interaction_rows
from genrec_jax.measuring.watching import watched_metric
from genrec_jax.recommend import recommend
from genrec_jax.report import report
from genrec_jax.types import GenrecError

SETTINGS = {'checkpoint': 'last', 'num_beams': 20, 'batch_size': 64}


@pytest.fixture(scope='module')
def measured(run):
  """All tasks of the test part, with a sample of the texts."""
  evaluate(
    run_dir=run.directory,
    model=run.model,
    split='test',
    max_texts=12,
    **SETTINGS,
  )
  return {
    task: results.read_result(run.directory, 'test', task, subset=subset)
    for task, subset in results.measured_tasks(run.directory, 'test').items()
  }


def test_all_tasks_are_measured_and_samples_say_so(run, measured):
  assert set(measured) == set(run.cache.tasks())
  written = ('explanation', 'review', 'summary')
  for task, (result, _) in measured.items():
    total = len(run.cache.examples(task, 'test'))
    subset = {'examples': 12, 'of': total, 'seed': 0}
    is_sample = task in written or (task == 'conversation_reply' and total > 12)
    assert result['subset'] == (subset if is_sample else None), task
    assert result['n'] == (12 if is_sample else total)
    assert results.result_path(
      run.directory, 'test', task, subset=is_sample
    ).exists()
    assert 1 <= len(result['read_out']) <= 3
    assert result['lacking'] is not None and result['cut'] is not None
  log = run.directory / 'evaluation' / 'test_log.jsonl'
  looks = [json.loads(line) for line in log.read_text().splitlines()]
  assert {look['task'] for look in looks} == set(measured)


def test_intervals_hold_the_metrics_that_they_are_of(measured):
  of_task = {'conversation_reply': 'rouge_1', 'conversation': 'recall@10'}
  of_answer = {
    'item': 'ndcg@10',
    'rating': 'rmse',
    'yes_no': 'auc',
    'text': 'rouge_l',
  }
  for task, (result, arrays) in measured.items():
    metric = of_task.get(task) or of_answer[result['answer']]
    found = intervals.intervals(result, arrays, metric, num_resamples=100)
    for row, one in found.items():
      assert one.low <= one.mean <= one.high, (task, row)
      told = result['metrics'][row]['all'][metric]
      assert one.mean == pytest.approx(told, rel=1e-5)
    expected = {'model'}
    if result['answer'] in ('item', 'rating'):
      expected = {*result['metrics']} - {'model, written'}
    assert expected <= found.keys(), task


def test_the_ledger_holds_every_task(run, measured, pages):
  html = ledger(run_dir=run.directory, num_resamples=100).read_text()
  assert pages.requests(html) == []
  rows = [
    {about['data-label']: ' '.join(text.split()) for about, text in cells}
    for about, cells in pages.Page(html).rows
    if 'data-method' in about
  ]
  assert {row['task'] for row in rows} >= set(measured)
  for task, (result, _) in measured.items():
    (row,) = (
      r
      for r in rows
      if (r['task'], r['part'].split()[0]) == (task, 'test')
      and ('a sample of' in r['part']) == bool(result['subset'])
    )
    value = result['metrics']['model']['all'][row['metric']]
    assert row['value, 95 % interval'].startswith(f'{value:.4f} [')
    assert int(row['parameters'].replace(',', '')) > 1000


def test_lists_are_measured_as_ever(measured):
  result, arrays = measured['sequential']
  for name in ('model', 'popularity', 'markov', 'item_knn'):
    assert result['metrics'][name] == ranking.measure_lists(
      arrays[f'items_{name}'], arrays['target'], arrays['tied']
    )
  assert result['invalid_share'] == 0


def test_ratings_are_measured_beside_what_the_data_say(run, data, measured):
  result, arrays = measured['rating']
  examples = run.cache.examples('rating', 'test')
  truth = data.column('rating', examples)
  assert arrays['truth'].tolist() == truth
  metrics = result['metrics']
  assert metrics['model']['all'] == rating_metrics(arrays['expected'], truth)
  bias = UserItemBias().fit(
    *data.ratings(), data.dataset.num_users, data.dataset.num_items
  )
  predicted = bias.predict(examples.user, examples.target)
  assert metrics['user_item_bias']['all'] == rating_metrics(predicted, truth)
  # Few steps were trained: what is no rating counts as the mean, and is told.
  written = metrics['model, written']['all']
  assert written['fallback'] == pytest.approx(data.ratings()[2].mean())
  failures = result['failures']
  assert failures['failed_share'] == written['failed_share']
  if written['failed_share'] == 1:
    assert written['rmse'] == pytest.approx(
      metrics['global_mean']['all']['rmse']
    )


def test_yes_or_no_is_measured_beside_order_by_what_is_known(
  run, data, measured
):
  result, arrays = measured['rating_yes_no']
  examples = run.cache.examples('rating_yes_no', 'test')
  liked = np.array(data.column('rating', examples)) >= 4
  assert arrays['truth'].tolist() == liked.tolist()
  for row, scores, says_yes in (
    ('model', arrays['log_odds'], arrays['yes'] >= 0.5),
    ('user_item_bias', arrays['user_item_bias'], None),
  ):
    assert result['metrics'][row]['all'] == yes_no_metrics(
      scores, liked, says_yes=says_yes
    )
  usual = result['metrics']['most_frequent_answer']['all']
  assert usual['auc'] == 0.5
  assert usual['accuracy'] == pytest.approx(max(liked.mean(), 1 - liked.mean()))


def test_the_item_that_is_offered_is_read_off_the_prompt(run, data, measured):
  examples = run.cache.examples('sequential_yes_no', 'test')
  is_next = true_liking(run, run.facts('sequential_yes_no'), examples)
  offered = offered_items(run, examples, is_next)
  # The plain prompt ends with it.
  for row, item in enumerate(offered):
    tokens = run.cache.item_tokens[item]
    assert examples.inputs[row][-len(tokens) :].tolist() == tokens.tolist()
  assert (offered != examples.target)[~is_next].all()
  _, item = data.interactions()
  popularity = measured['sequential_yes_no'][1]['popularity']
  counts = np.bincount(item, minlength=data.dataset.num_items)
  assert popularity.tolist() == counts[offered].tolist()


def test_texts_are_measured_by_the_true_ones(run, data, measured):
  result, arrays = measured['summary']
  examples = run.cache.examples('summary', 'test')
  chosen = np.isin(examples.user, arrays['user'])
  rows = interaction_rows(data.dataset, examples)[chosen]
  table = data.dataset.interactions.take(rows)
  truth = table['summary'].to_pylist()
  said = outputs.texts([run.parser.text(row) for row in arrays['tokens']])
  expected = text.text_metrics(said, truth)
  assert result['text_settings'] == expected.pop('settings')
  found = result['metrics']['model']['all']
  assert {name: found[name] for name in expected} == expected
  lead = [first_sentence(review) for review in table['review'].to_pylist()]
  expected = text.text_metrics(lead, truth)
  expected.pop('settings')
  assert result['metrics']['first_sentence']['all'] == expected
  assert arrays['rouge_l'].mean() == pytest.approx(found['rouge_l'])


def test_explanations_are_measured_by_features_too(measured):
  metrics = measured['explanation'][0]['metrics']
  # In the simulator an explanation always names its feature.
  assert metrics['the true texts']['all']['fmr'] == 1.0
  assert set(metrics) == {
    'model',
    'most_frequent_text',
    'retrieval_copy',
    'the true texts',
  }
  assert metrics['most_frequent_text']['all']['usr'] == pytest.approx(1 / 12)


def test_conversations_are_measured_by_turn(run, data, measured):
  result, arrays = measured['conversation']
  turns, targets = group_turns(run.cache.examples('conversation', 'test'))
  assert targets.lengths.sum() == result['n'] and len(turns) == result['turns']
  for row in range(len(turns)):
    assert len(set(targets[row])) == len(targets[row]) > 0
  named = *data.mentions(), data.dataset.num_items
  copied = protocol.recommend(
    CopyContext().fit(*named), turns.history, top_k=50, exclude_seen=False
  )
  metrics = result['metrics']
  assert metrics['copy_context'] == conversation_metrics(
    copied, targets, turns.history
  )
  assert metrics['model'] == conversation_metrics(
    arrays['items_model'], targets, turns.history
  )
  assert 'recall@50' in metrics['model']['all']
  without = arrays['items_model, without mentioned']
  for row in range(len(turns)):
    assert not np.isin(without[row], turns.history[row]).any()


def test_replies_are_measured_with_the_trie_and_without(measured):
  metrics = measured['conversation_reply'][0]['metrics']
  assert metrics['model']['all'].get('invented_share', 0) == 0
  assert 'bleu_4' in metrics['model, without the trie']['all']
  assert 'named_recall' in metrics['copy_context']['all']
  assert metrics['most_frequent_text']['all']['bleu_1'] > 0


def test_one_task_measured_anew_leaves_the_others(run, measured):
  path = results.result_path(run.directory, 'test', 'rating')
  before = path.read_text()
  evaluate(
    run_dir=run.directory,
    model=run.model,
    split='test',
    tasks='sequential',
    baselines=(),
    **SETTINGS,
  )
  assert path.read_text() == before
  assert set(results.measured_tasks(run.directory, 'test')) == set(measured)
  other, _ = results.read_result(run.directory, 'test', 'sequential')
  assert set(other['metrics']) == {'model'}


def test_a_machine_without_the_dataset_measures_the_model(run, tmp_path):
  for name in ('tokens', 'checkpoints'):
    shutil.copytree(run.directory / name, tmp_path / name)
  arguments = {'run_dir': tmp_path, 'model': run.model, **SETTINGS}
  with pytest.raises(GenrecError, match=r'--baselines="\(\)"'):
    evaluate(tasks='rating', **arguments)
  found = evaluate(baselines=(), split='test', max_texts=12, **arguments)
  assert set(found) == set(run.cache.tasks())
  assert set(found['rating']['metrics']) == {'model', 'model, written'}
  assert set(found['review']['metrics']) == {'model'}


def test_while_training_all_tasks_are_watched(run):
  watch = make_evaluate_fn(
    run_dir=run.directory, model=run.model, max_texts=8, batch_size=64
  )
  metrics = watch(run.params, 8)
  assert watched_metric(run.cache) in metrics
  likelihoods = [
    metrics[f'{task}/log_likelihood'] for task in run.cache.tasks()
  ]
  assert metrics['log_likelihood'] == pytest.approx(np.mean(likelihoods))
  # Barely trained: near to all tokens being as likely.
  assert -np.log(run.cache.vocab_size) * 1.2 < metrics['log_likelihood'] < 0
  for name in (
    'sequential/recall@10',
    'rating/rmse',
    'rating_yes_no/accuracy',
    'conversation/recall@10',
  ):
    assert name in metrics
  sample = evaluate(
    run_dir=run.directory,
    model=run.model,
    tasks='rating',
    baselines=(),
    **SETTINGS,
  )
  rmse = sample['rating']['metrics']['model']['all']['rmse']
  assert metrics['rating/rmse'] == pytest.approx(rmse, rel=1e-5)


def test_one_of_several_tasks_is_watched_under_the_same_names(run):
  """The best checkpoint is known by them, whichever tasks are watched."""
  watch = make_evaluate_fn(
    run_dir=run.directory,
    model=run.model,
    tasks='sequential',
    max_texts=8,
    batch_size=64,
  )
  metrics = watch(run.params, 8)
  assert watched_metric(run.cache) in metrics
  assert 'sequential/recall@10' in metrics


def test_examples_of_other_data_have_no_interactions(run, data):
  examples = run.cache.examples('sequential', 'validation')
  shifted = type(examples)(
    **{
      name: getattr(examples, name)
      for name in ('inputs', 'targets', 'user', 'tied', 'history')
    },
    target=(examples.target + 1) % data.dataset.num_items,
  )
  with pytest.raises(GenrecError, match='of no interaction'):
    interaction_rows(data.dataset, shifted)


def test_the_report_shows_every_task_beside_its_floors(run, measured):
  html = report(run_dir=run.directory).read_text()
  found = {
    task: results.read_result(run.directory, 'test', task, subset=subset)[0]
    for task, subset in results.measured_tasks(run.directory, 'test').items()
  }
  assert set(found) == set(measured)
  for task, result in found.items():
    assert f'id="{task}"' in html
    for row in result['metrics']:
      assert f'<td>{row}</td>' in html
  assert html.count('class="read_out"') == sum(
    len(result['read_out']) for result in found.values()
  )
  assert 'a sample of 12 of 40' in html


def test_dialogues_are_recommended_to_by_their_own_ids(run, data, tmp_path):
  for name in ('dataset', 'ids', 'tokens', 'checkpoints'):
    (tmp_path / name).symlink_to(run.directory / name)
  settings = {'task': 'conversation', 'checkpoint': 'last', 'top_k': 3}
  table_of_lists = recommend(run_dir=tmp_path, model=run.model, **settings)
  lines = (tmp_path / 'recommendations.jsonl').read_text().splitlines()
  table = data.dataset.dialogues
  starts = data.dataset.dialogue_offsets
  for record in map(json.loads, lines):
    turn = int(starts[record['user']])
    assert record['user_id'] == table['dialogue_id'][turn].as_py()
    assert (record['task'], record['split']) == ('conversation', 'test')
    assert name_user(record) == f'Dialogue {record["user_id"]}'
    assert f'{name_user(record)}, ' in table_of_lists
