"""Of the whole command; that caches equal tasks is in registry_test.py."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from genrec_jax.data import splits
from genrec_jax.data.audit import LeakError
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.tasks import definitions, prompts, registry, text_pieces
from genrec_jax.tasks.prompts import Template
from genrec_jax.tokenize import tokenize
from genrec_jax.types import GenrecError


@pytest.fixture(autouse=True)
def _builtin_tasks_alone():
  yield
  for name in set(definitions.TASKS) - set(definitions.BUILTIN):
    del definitions.TASKS[name]


def test_the_same_seed_writes_the_same_bytes(run_dir):
  def fingerprint(seed):
    tokenize(run_dir=run_dir, tasks='top_n', seed=seed)
    return TokenCache.load(run_dir / 'tokens').fingerprint

  assert fingerprint(1) == fingerprint(1) != fingerprint(2)


def test_the_manifest_says_how_the_examples_were_made(run_dir):
  tokenize(run_dir=run_dir, templates='next, after', copies=2, seed=4)
  cache = TokenCache.load(run_dir / 'tokens')
  settings = cache.manifest['settings']
  assert settings['templates'] == {'sequential': ['next', 'after']}
  assert settings['evaluation_template'] == {'sequential': 'next'}
  assert (settings['copies'], settings['seed']) == (2, 4)
  assert settings['text_pieces'] == cache.layout['num_text_tokens']
  ids = ItemIds.load(run_dir / 'ids')
  assert cache.manifest['inputs']['ids'] == ids.fingerprint


@pytest.mark.parametrize(
  'templates, has_text', [('plain', False), ('next', True)]
)
def test_there_is_text_where_templates_have_words(run_dir, templates, has_text):
  tokenize(run_dir=run_dir, templates=templates)
  cache = TokenCache.load(run_dir / 'tokens')
  assert (cache.text_model is not None) == has_text
  assert (cache.layout['num_text_tokens'] > 3) == has_text


def test_text_pieces_are_learnt_from_train_items_alone(run_dir, monkeypatch):
  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  _, items = splits.train_interactions(dataset, split)
  part = split.part.copy()
  part[dataset.item == items[0]] = splits.UNUSED
  read = []
  monkeypatch.setattr(
    text_pieces, 'train_text_model', lambda texts, _: read.extend(texts)
  )
  smaller = splits.Split('leave_one_out', part, dataset.fingerprint)
  definition = definitions.task_definition('sequential')
  templates = prompts.choose_templates(definition.templates, None)
  text_pieces.learn_text_model({'sequential': templates}, dataset, smaller, 400)
  names = dataset.item_names()
  assert names[items[0]] not in read
  assert names[items[1]] in read


def test_a_task_that_shows_its_target_fails(run_dir):
  registry.define_task(
    'leaky',
    [Template('t', '{history} {answer}')],
    slots={'answer': lambda e, tokens, _: tokens.items(e['target'][None])},
  )
  with pytest.raises(LeakError, match='leaky/train'):
    tokenize(run_dir=run_dir, tasks='leaky')
  assert not (run_dir / 'tokens').exists()


def test_a_history_with_the_target_in_it_fails(run_dir):
  def look_ahead(e):
    return {**e, 'history': tf.concat([e['history'], [e['target']]], 0)}

  registry.define_task(
    'ahead', [Template('t', '{history}')], preprocessors=[look_ahead]
  )
  with pytest.raises(LeakError, match='ahead/train'):
    tokenize(run_dir=run_dir, tasks='ahead')


def test_ids_built_from_held_out_interactions_fail(run_dir):
  dataset = Dataset.load(run_dir / 'dataset')
  split = splits.load_split(run_dir / 'dataset', dataset)
  everything = splits.Split(
    split.protocol, np.zeros_like(split.part), split.dataset_fingerprint
  )
  ids = ItemIds.load(run_dir / 'ids')
  ItemIds(
    ids.codes,
    ids.codebook_sizes,
    inputs={
      **ids.inputs,
      'train': splits.train_fingerprint(dataset, everything),
    },
  ).save(run_dir / 'ids')
  with pytest.raises(LeakError, match='held-out'):
    tokenize(run_dir=run_dir)


@pytest.mark.parametrize(
  'arguments, complaint',
  [
    (dict(tasks='ranking'), 'sequential_yes_no, summary, top_n'),
    (dict(templates='plian'), 'after, attributes'),
    (dict(tasks=('sequential', 'top_n'), templates='plain'), "task 'top_n'"),
    (dict(tasks='top_n', num_candidates=41), '40 items'),
    (dict(max_history=0), 'at least 1'),
    (dict(text_pieces=0), 'text_pieces=1000'),
    (dict(task_files='no/such.py'), 'No task file no/such.py'),
  ],
)
def test_a_wrong_argument_says_what_is_right(run_dir, arguments, complaint):
  with pytest.raises(GenrecError, match=complaint):
    tokenize(run_dir=run_dir, **arguments)


def test_inputs_that_say_nothing_of_the_user_are_refused(run_dir):
  registry.define_task('blind', [Template('t', 'Recommend to {user}')])
  with pytest.raises(GenrecError, match='says nothing about the user'):
    tokenize(run_dir=run_dir, tasks='blind')


def test_the_command_imports_without_seqio():
  script = (
    'import sys, genrec_jax.tokenize;'
    "assert not {'seqio', 'tensorflow'} & set(sys.modules)"
  )
  subprocess.run([sys.executable, '-c', script], check=True)
