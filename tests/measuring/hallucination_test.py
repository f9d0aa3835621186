"""What answers say that is not so, from the model to the page."""

import dataclasses

import jax
import numpy as np
import pytest

from genrec_jax.answering.item_paths import ItemDecoding, write_items
from genrec_jax.decoding.catalogue_scores import score_catalogue
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.evaluate import evaluate
from genrec_jax.evaluation import outputs, results
from genrec_jax.evaluation.claims import ClaimVocabulary, claim_metrics
from genrec_jax.measuring.hallucination import (
  OF_OTHERS,
  TRUE,
  measure_mentions,
  measure_reply_claims,
  measure_text_claims,
  measure_written_ratings,
)
from genrec_jax.measuring.invented_items import (
  compare_decodings,
  measure_mass,
)
from genrec_jax.measuring.texts import true_texts
from genrec_jax.report import report
from genrec_jax.reporting.hallucination_tables import hallucination_tables
from genrec_jax.types import GenrecError

TASK = 'sequential'
WAYS = (
  ItemDecoding(num_beams=12),
  ItemDecoding(num_beams=12, normalization='children'),
  ItemDecoding(num_beams=12, temperature=2.0),
  ItemDecoding(trie=False, num_beams=12),
  ItemDecoding(trie=False, num_beams=12, temperature=0.5),
  ItemDecoding(trie=False, num_beams=1),
)


@pytest.fixture(scope='module')
def examples(run):
  return take_examples(run.cache.examples(TASK, 'validation'), range(16))


@pytest.fixture(scope='module')
def compared(run, examples):
  return compare_decodings(run, examples, WAYS, batch_size=16)


def test_with_the_trie_nothing_is_invented(compared):
  for row in compared[:3]:
    assert row['no_item'] == {'n': 16, 'mean': 0, 'low': 0, 'high': 0}
    assert row['any_no_item']['mean'] == 0 == row['seen']
    assert sum(row['kinds'].values()) == 0 == sum(row['levels'])
    assert row['outputs'] == 16 * 12
  assert compared[0]['recall_lost'] is None


def test_without_the_trie_it_is_counted_as_the_parser_does(
  run, examples, compared
):
  for way, row in zip(WAYS[3:], compared[3:]):
    answers = write_items(run, examples, way, batch_size=16)
    parsed = [
      run.parser.ranked_items(*both)
      for both in zip(answers.tokens, answers.log_probabilities)
    ]
    invented = [
      way.num_beams if isinstance(one, outputs.Failure) else one.hallucinated
      for one in parsed
    ]
    share = sum(invented) / (16 * way.num_beams)
    assert row['no_item']['mean'] == pytest.approx(share)
    assert sum(row['kinds'].values()) == pytest.approx(share)
    assert sum(row['levels']) == pytest.approx(share)
    lists = outputs.item_lists(parsed, way.num_beams)
    for items, history in zip(lists, examples.history):
      items[np.isin(items, history)] = outputs.NO_ITEM
    kept = [[i for i in items if i != outputs.NO_ITEM][:10] for items in lists]
    recall = np.mean([t in of for t, of in zip(examples.target, kept)])
    assert row['recall@10']['mean'] == pytest.approx(recall)
    lost = compared[0]['recall@10']['mean'] - recall
    assert row['recall_lost']['mean'] == pytest.approx(lost)
  # Barely trained: there is something to count.
  assert compared[4]['no_item']['mean'] > 0.1


def test_ways_have_names_of_their_own():
  names = [way.name for way in WAYS]
  assert len(set(names)) == len(names)
  assert 'free, greedy' in names and 'trie, 12 drawn at 2' in names
  for wrong, complaint in (
    ({'trie': False, 'normalization': 'level'}, 'free, 20 beams'),
    ({'num_beams': 0}, 'num_beams=0'),
    ({'temperature': 0.0}, 'temperature=0'),
  ):
    with pytest.raises(GenrecError, match=complaint):
      ItemDecoding(**wrong)


def test_the_mass_outside_is_what_all_items_leave(run, examples):
  few = take_examples(examples, range(4))
  inputs = few.inputs.padded(np.arange(4), int(few.inputs.lengths.max()))

  @jax.jit
  def score(params, inputs):
    tokens_to_logits, cache = run.model.start_decoding(
      params, {'encoder_input_tokens': inputs}
    )
    return score_catalogue(run.trie, tokens_to_logits, cache, 4)

  inside = np.exp(np.asarray(score(run.params, inputs), float)).sum(axis=1)
  found = measure_mass(run, few)
  assert found['outside']['mean'] == pytest.approx(1 - inside.mean(), abs=1e-4)
  assert sum(found['levels']) == pytest.approx(found['outside']['mean'])
  assert 0.01 < found['outside']['mean'] < 1 and found['sample'] is None
  sample = measure_mass(run, few, max_examples=2)['sample']
  assert sample == {'examples': 2, 'of': 4, 'seed': 0}


def plant(run, data, task, change):
  """Measures true texts, and the same with some changed, as the model's."""
  facts, part = run.facts(task), run.cache.examples(task, 'validation')
  truth = true_texts(run, facts, part)
  written = {'model': change(truth)}
  return measure_text_claims(facts, part, written, truth, data)


def test_planted_claims_are_counted_and_true_texts_have_none(run, data):
  items = data.dataset.items
  brands = items['brand'].to_pylist()
  part = run.cache.examples('review', 'validation')
  others = [
    next(b for b in brands if b != brands[item])
    for item in part.target.tolist()[:5]
  ]
  found = plant(
    run,
    data,
    'review',
    lambda truth: (
      [f'{t} Unlike {b}.' for t, b in zip(truth, others)] + truth[5:]
    ),
  )
  of_attributes = found['claims']['attributes']
  known = {name for names in items['attributes'].to_pylist() for name in names}
  assert of_attributes['names'] == len(known)
  rows = of_attributes['rows']
  assert rows[TRUE]['false_claims']['mean'] == 0
  assert rows['model']['any_false']['mean'] == 5 / len(part)
  assert rows[OF_OTHERS]['false_claims']['mean'] > 0.5
  # In the simulator a review names a feature that things of its kind have.
  rows = found['claims']['features']['rows']
  assert rows[TRUE]['claims'] == 1 == rows['model']['claims']
  assert rows[OF_OTHERS]['false_claims']['mean'] > 0.5


def test_planted_contradictions_are_counted(run, data):
  part = run.cache.examples('review', 'validation')
  liked = np.array(data.column('rating', part)) >= 4
  praise, blame = 'I would buy it again.', 'It is poor. I sent it back.'
  found = plant(
    run,
    data,
    'review',
    lambda truth: [
      *(blame if good else praise for good in liked[:6]),
      *(praise if good else blame for good in liked[6:]),
    ],
  )['contradictions']
  assert found['rows']['model']['contradictions']['mean'] == pytest.approx(
    6 / len(part)
  )
  # Texts of the simulator follow from the rating.
  assert found['classifier']['auc'] > 0.95
  assert found['classifier']['accuracy'] == pytest.approx(
    1 - found['rows'][TRUE]['contradictions']['mean']
  )


def test_without_metadata_there_are_no_claims(run, data):
  items = data.dataset.items
  place = items.column_names.index('attributes')
  items = items.set_column(place, 'attributes', [[[]] * len(items)])
  # Titles are the next best thing.
  dataset = dataclasses.replace(data.dataset, items=items)
  known = dataclasses.replace(data, dataset=dataset)
  claims = plant(run, known, 'review', list)['claims']
  assert set(claims) == {'titles', 'features'}
  place = items.column_names.index('title')
  items = items.set_column(place, 'title', [[''] * len(items)])
  interactions = data.dataset.interactions.drop_columns(['feature', 'rating'])
  dataset = dataclasses.replace(
    data.dataset, items=items, interactions=interactions
  )
  known = dataclasses.replace(data, dataset=dataset)
  assert plant(run, known, 'review', list) == {}


def test_replies_are_held_to_the_items_they_speak_of(run, data):
  part = run.cache.examples('conversation_reply', 'validation')
  part = take_examples(part, range(2))
  brands = data.dataset.items['brand'].to_pylist()
  item = int(part.target[0])
  other = next(
    brand
    for brand, title in zip(brands, data.dataset.item_names())
    if brand != brands[item]
    and not any(
      brand in data.dataset.item_names()[seen]
      for seen in [item, *part.history[0]]
    )
  )
  name = data.dataset.item_names()[item]
  mention = outputs.Mention(item, 4, 4 + len(name))
  said = f'The {name} of {brands[item]}'
  truth = [outputs.DialogueTurn(said, (mention,))] * 2
  turns = {
    'model': [
      outputs.DialogueTurn(f'{said}, no {other}', (mention,)),
      outputs.Failure('no_text', ''),
    ]
  }
  rows = measure_reply_claims(turns, truth, part, data)['claims']
  model = rows['attributes']['rows']['model']
  assert model['claims'] == 1 and model['false_claims']['mean'] == 0.5
  assert rows['attributes']['rows'][TRUE]['false_claims']['mean'] == 0


def test_a_false_claim_is_read_out():
  vocabulary = ClaimVocabulary(['Cobalt', 'Kettle'], [['Cobalt'], ['Kettle']])
  rows = {
    name: claim_metrics([text], [[0]], vocabulary, np.arange(1))
    for name, text in (('model', 'A fine kettle.'), (TRUE, 'Cobalt, indeed'))
  }
  claims = {'attributes': {'names': 2, 'rows': rows}}
  (table,) = hallucination_tables({'hallucination': {'claims': claims}})
  assert 'claims "kettle" in "A fine kettle."' in table['note']
  assert [row['values'][:2] for row in table['rows']] == [[1, 1], [1, 0]]


def test_mentions_and_ratings_are_counted_by_hand():
  def turn(*items):
    return outputs.DialogueTurn(
      'text', tuple(outputs.Mention(item, 0, 1) for item in items)
    )

  turns = [turn(3, -1), turn(), outputs.Failure('no_text', ''), turn(-1, -1)]
  found = measure_mentions({'model': turns}, np.arange(4))['rows']['model']
  assert found['mentions'] == 4
  assert found['no_item']['mean'] == 3 / 4
  assert found['any_no_item']['mean'] == 2 / 4
  written = [
    outputs.Rating(4.0, False),
    outputs.Rating(5.0, True),
    outputs.Rating(4.5, False),
    outputs.Failure('no_rating', ''),
  ]
  found = measure_written_ratings(written, [1, 2, 3, 4, 5], np.arange(4))
  row = found['rows']['model, written']
  assert row['no_rating'] == row['off_scale'] == row['no_choice'] == 1 / 4
  assert row['invalid']['mean'] == 3 / 4


def test_it_is_written_printed_and_shown(run, tmp_path, capsys):
  for name in ('dataset', 'ids', 'tokens', 'checkpoints'):
    (tmp_path / name).symlink_to(run.directory / name)
  tasks = (TASK, 'rating', 'review')
  measured = evaluate(
    run_dir=tmp_path,
    model=run.model,
    tasks=tasks,
    checkpoint='last',
    num_beams=12,
    batch_size=16,
    max_examples=16,
    hallucination_examples=8,
  )
  printed = capsys.readouterr().out
  html = report(run_dir=tmp_path).read_text()
  for task in tasks:
    stored, _ = results.read_result(tmp_path, 'validation', task, subset=True)
    assert stored['hallucination'] == measured[task]['hallucination']
    tables = hallucination_tables(stored)
    assert tables
    for table in tables:
      assert table['title'] in printed and table['title'] in html
      assert all(
        len(row['values']) == len(table['columns']) for row in table['rows']
      )
  found = measured[TASK]['hallucination']['items']
  assert found['sample'] == {'examples': 8, 'of': 16, 'seed': 0}
  assert found['rows']['trie, 12 beams']['no_item']['mean'] == 0
  assert html.count('What is not so') == 3


def test_lists_are_decoded_freely_only_where_that_is_asked_for(run, tmp_path):
  for name in ('dataset', 'ids', 'tokens', 'checkpoints'):
    (tmp_path / name).symlink_to(run.directory / name)
  found = evaluate(
    run_dir=tmp_path,
    model=run.model,
    tasks=TASK,
    checkpoint='last',
    num_beams=12,
    batch_size=16,
    max_examples=16,
    baselines=(),
  )
  assert 'hallucination' not in found[TASK]
