"""What retrieval into the prompt and wishes do, on the simulator.

    python tools/benchmarks/retrieval_and_control.py --retrieval=none
    python tools/benchmarks/retrieval_and_control.py --retrieval=bm25
    python tools/benchmarks/retrieval_and_control.py --retrieval=dense
    python tools/benchmarks/retrieval_and_control.py --control

Each trains one tiny model on test-sized data and prints a JSON object of what
it measures on the test part. --retrieval trains next items, explanations and
replies together, with what was retrieved in the prompts or without, and counts
what answers invent: items that do not exist (decoded without the trie), and in
explanations features that things of the item's category do not have, and brands
that are not its own; the simulator knows. --control trains next items and
explanations with a wish in half of the prompts, and counts how many answers
obey, with and without the prompt and the filter.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import time

import numpy as np

from genrec_jax import build_ids, tokenize, train
from genrec_jax.answering.items import rank_items
from genrec_jax.answering.run import Run, load_run
from genrec_jax.answering.texts import TextDecoding, write_replies, write_texts
from genrec_jax.data import dialogue_split, simulator, simulator_texts, splits
from genrec_jax.data.attributes import draw_wishes, read_attributes
from genrec_jax.data.dataset import Dataset, build_dataset
from genrec_jax.data.token_cache import (
  Ragged,
  TokenCache,
  TokenExamples,
  vocab_size,
)
from genrec_jax.evaluation import control, explanation, ranking, text
from genrec_jax.evaluation.outputs import NO_ITEM, DialogueTurn, texts
from genrec_jax.ids.residual_quantization import residual_kmeans
from genrec_jax.ids.svd import item_factors
from genrec_jax.measuring.measured import Settings
from genrec_jax.measuring.wishes import Wishes, rank_wished
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.training import optimizers

NUM_BEAMS = 20


def main() -> None:
  """Trains one model and prints what was measured."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--retrieval', default='none')
  parser.add_argument('--control', action='store_true')
  parser.add_argument('--tasks', nargs='+', default=list(MEASURES))
  parser.add_argument('--directory', default='runs/retrieval_and_control')
  parser.add_argument('--num_users', type=int, default=1000)
  parser.add_argument('--num_steps', type=int, default=400)
  parser.add_argument('--batch_size', type=int, default=128)
  parser.add_argument('--num_retrieved', type=int, default=3)
  parser.add_argument('--seed', type=int, default=0)
  arguments = parser.parse_args()
  name = 'control' if arguments.control else arguments.retrieval
  name = '_'.join([name, *arguments.tasks])
  directory = pathlib.Path(arguments.directory) / f'{name}_{arguments.seed}'
  started = time.process_time()
  dataset = prepare(directory, arguments)
  settings = dict(run_dir=directory, max_history=8, text_pieces=1500)
  if arguments.control:
    measured = measure_control(directory, dataset, settings, arguments)
  else:
    measured = measure_retrieval(directory, dataset, settings, arguments)
  measured['cpu_seconds'] = round(time.process_time() - started)
  print(json.dumps({**vars(arguments), **measured}))


def prepare(directory: pathlib.Path, arguments) -> Dataset:
  """Writes the dataset and the ids of a run."""
  raw = simulator.simulate(
    seed=arguments.seed, num_users=arguments.num_users, num_dialogues=1000
  )
  dataset = build_dataset('simulator', raw)
  split = dialogue_split.split_dialogues(dataset, splits.leave_one_out(dataset))
  dataset.save(directory / 'dataset')
  splits.save_split(split, dataset, directory / 'dataset')
  factors = functools.partial(
    item_factors,
    matrix='cooccurrence',
    weighting='ppmi',
    window=10,
    rank=32,
    singular_power=0.5,
  )
  build_ids.build_ids(
    run_dir=directory,
    method=functools.partial(
      residual_kmeans,
      item_vectors=factors,
      num_levels=2,
      codebook_size=64,
      collisions='nearest_free',
    ),
  )
  return dataset


def fit(directory: pathlib.Path, arguments, rates) -> Run:
  """Trains the tiny model of gin/models/tiny.gin on the tokens of a run."""
  model = EncoderDecoder(
    Transformer(
      T5Config(
        vocab_size=vocab_size(directory / 'tokens'),
        emb_dim=64,
        num_heads=4,
        head_dim=16,
        mlp_dim=256,
        num_encoder_layers=2,
        num_decoder_layers=2,
        mlp_activations=('relu',),
        logits_via_embedding=True,
        dropout_rate=0.1,
      )
    ),
    optimizer_def=optimizers.adamw(
      learning_rate=optimizers.cosine(
        learning_rate=4e-3, warmup_steps=50, num_steps=arguments.num_steps
      ),
      weight_decay=0.01,
    ),
  )
  train.train(
    run_dir=directory,
    model=model,
    num_steps=arguments.num_steps,
    seed=arguments.seed,
    make_evaluate_fn=None,
    make_train_batches=functools.partial(
      train.cached_batches,
      batch_size=arguments.batch_size,
      tasks=rates,
      num_buckets=1,
      num_target_buckets=1,
    ),
  )
  return load_run(directory, model, checkpoint='last')


def measure_retrieval(directory, dataset, settings, arguments):
  """Returns quality and inventions with what was retrieved, or without."""
  retrieving = arguments.retrieval != 'none'
  tokenize.tokenize(
    tasks=arguments.tasks,
    templates='retrieved' if retrieving else 'plain',
    retrieval=arguments.retrieval,
    num_retrieved=arguments.num_retrieved,
    **settings,
  )
  run = fit(directory, arguments, dict.fromkeys(arguments.tasks, 1.0))
  return {task: MEASURES[task](run, dataset) for task in arguments.tasks}


def one_length(examples: TokenExamples) -> TokenExamples:
  """Returns examples with padded inputs, so that one shape compiles."""
  width = -(-int(examples.inputs.lengths.max()) // 8) * 8
  padded = examples.inputs.padded(np.arange(len(examples)), width)
  return dataclasses.replace(examples, inputs=Ragged.from_rows(padded))


def measure_next_items(run: Run, dataset: Dataset):
  """Returns how high the next item is ranked."""
  del dataset
  examples = one_length(run.cache.examples('sequential', 'test'))
  lists = rank_items(run, examples, num_beams=NUM_BEAMS)
  return ranking.measure_lists(lists.items, examples.target, examples.tied)[
    'all'
  ]


def measure_explanations(run: Run, dataset: Dataset):
  """Returns text metrics of explanations, and what they say that is untrue."""
  examples = one_length(run.cache.examples('explanation', 'test'))
  written = texts(write_texts(run, examples).first)
  split = splits.load_split(run.directory / 'dataset', dataset)
  rows = splits.examples_at(dataset, np.flatnonzero(split.part == splits.TEST))
  told = dataset.interactions.take(rows.rows)
  metrics = text.text_metrics(written, told['explanation'].to_pylist())
  features = told['feature'].to_pylist()
  all_features = set(dataset.interactions['feature'].to_pylist())
  metrics |= explanation.explanation_metrics(written, all_features, features)
  return metrics | untrue_shares(written, dataset, examples.target)


def untrue_shares(written, dataset: Dataset, items):
  """Returns the share of explanations that name what the item has not."""
  of_category = {
    category: set(features)
    for categories in simulator_texts.ACTIVITIES.values()
    for category, features in categories.items()
  }
  every = sorted(set().union(*of_category.values()))
  category = dataset.items['category'].to_pylist()
  brand = dataset.items['brand'].to_pylist()
  named = explanation.named_features(
    written, {tuple(feature.split()) for feature in every}
  )
  false_feature = [
    not {' '.join(feature) for feature in found} & of_category[category[item]]
    for found, item in zip(named, items)
  ]
  false_brand = [
    any(b in said and b != brand[item] for b in simulator_texts.BRANDS)
    for said, item in zip(written, items)
  ]
  return {
    'false_or_no_feature': float(np.mean(false_feature)),
    'false_brand': float(np.mean(false_brand)),
  }


def measure_replies(run: Run, dataset: Dataset):
  """Returns how many items replies invent and hit, with and without a trie."""
  del dataset
  examples = one_length(run.cache.examples('conversation_reply', 'test'))
  result = {}
  for name, free in (('trie', False), ('free', True)):
    turns = write_replies(run, examples, TextDecoding(free_mentions=free)).first
    mentions = [
      [mention.item for mention in turn.mentions]
      if isinstance(turn, DialogueTurn)
      else []
      for turn in turns
    ]
    every = [item for items in mentions for item in items]
    result[name] = {
      'n': len(turns),
      'mentions': len(every),
      'invented': float(np.mean(np.array(every) == NO_ITEM)) if every else None,
      'hits': float(
        np.mean([t in m for t, m in zip(examples.target, mentions)])
      ),
    }
  return result


def measure_control(directory, dataset, settings, arguments):
  """Returns how many answers obey, with and without prompt and filter."""
  tasks = ('sequential', 'explanation')
  tokenize.tokenize(
    tasks=tasks, templates=('wanted', 'plain', 'feature_plain'), **settings
  )
  rates = {'sequential': 0.6, 'explanation': 0.4}
  run = fit(directory, arguments, rates)
  attributes = read_attributes(dataset.items)
  told = dataset.interactions
  result = {'attributes': len(attributes.values)}
  # The same text pieces and ids: only the first template is another.
  for prompt, templates in (
    ('with', ('wanted', 'feature_plain')),
    ('without', ('plain',)),
  ):
    tokenize.tokenize(
      tasks=tasks,
      templates=templates,
      **{**settings, 'text_pieces': None},
      text_model=directory / 'tokens' / 'text.model',
    )
    cache = TokenCache.load(
      directory / 'tokens', vocabulary=run.cache.vocabulary_fingerprint
    )
    examples = one_length(cache.examples('sequential', 'test'))
    wishes = Wishes(
      draw_wishes(attributes, examples.user, examples.target),
      attributes.items_with(np.arange(len(attributes.values))),
    )
    for filtered in (False, True):
      items = (
        rank_wished(run, examples, wishes, Settings(num_beams=NUM_BEAMS))
        if filtered
        else rank_items(run, examples, num_beams=NUM_BEAMS).items
      )
      name = f'prompt {prompt}, filter {"with" if filtered else "without"}'
      result[name] = wishes.measure(items) | {
        key: value
        for key, value in ranking.measure_lists(
          items, examples.target, examples.tied
        )['all'].items()
        if key in ('recall@10', 'ndcg@10')
      }
    examples = one_length(cache.examples('explanation', 'test'))
    split = splits.load_split(directory / 'dataset', dataset)
    rows = np.flatnonzero(split.part == splits.TEST)
    written = texts(write_texts(run, examples).first)
    result[f'explanation, feature {prompt}'] = control.measure_texts(
      written, told['feature'].take(rows).to_pylist()
    )
  return result


MEASURES = {
  'sequential': measure_next_items,
  'explanation': measure_explanations,
  'conversation_reply': measure_replies,
}


if __name__ == '__main__':
  main()
