"""Measures lists of items, of interactions and of dialogues."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from genrec_jax.answering.facts import TaskFacts, turn_offsets
from genrec_jax.answering.items import check_lists, rank_items
from genrec_jax.answering.run import Run
from genrec_jax.baselines import protocol
from genrec_jax.baselines.dialogues import CopyContext
from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.data import splits
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.recommend import Lists, take_examples
from genrec_jax.evaluation import conversation, ranking
from genrec_jax.evaluation.calibration import measure_calibration
from genrec_jax.measuring import penalties, unseen, wishes
from genrec_jax.measuring.bias import measure_bias, measure_groups
from genrec_jax.measuring.invented_items import measure_invented_items
from genrec_jax.measuring.measured import Measured, Settings, read_out
from genrec_jax.measuring.train_data import TrainData

COLUMNS = ('recall@5', 'recall@10', 'ndcg@5', 'ndcg@10', 'mrr')
CALIBRATED = 10  # places whose probabilities are summed
SHOWN = 3  # items of a list that are read out


def measure_items(
  run: Run,
  facts: TaskFacts,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None,
) -> Measured:
  """Ranks the whole catalogue, beside the baselines on the same histories.

  Where prompts wish for an attribute, also how many items obey, and the same
  with a filter (measuring/wishes.py). Where there is a dataset, also what
  accuracy hides (measuring/bias.py).
  """
  fitted = [
    make_baseline().fit(*data.interactions(), data.dataset.num_items)
    for make_baseline in settings.baselines
    if data is not None
  ]
  lists = rank_items(
    run,
    examples,
    num_beams=settings.num_beams,
    normalization=settings.normalization,
    exclude_seen=settings.exclude_seen,
    batch_size=settings.batch_size,
  )
  rows = {'model': lists.items} | {
    baseline.name: protocol.recommend(
      baseline,
      examples.history,
      top_k=settings.num_beams,
      exclude_seen=settings.exclude_seen,
    )
    for baseline in fitted
  }
  if settings.cold_share:
    name = unseen.row_name(settings.cold_share)
    rows[name] = unseen.rank_with_share(run, examples, lists, settings)
  if settings.popularity_penalties:
    rows |= penalties.rank_with_penalties(run, examples, settings, data)
  wished = wishes.find_wishes(run, facts, examples, data)
  if wished is not None:
    rows[wishes.FILTERED] = wishes.rank_wished(run, examples, wished, settings)
  cold = held_out_targets(run, examples)
  metrics = {
    name: ranking.measure_lists(items, examples.target, examples.tied, cold)
    for name, items in rows.items()
  }
  if wished is not None:
    for name, items in rows.items():
      metrics[name]['all'] |= wished.measure(items)
  hidden = {}
  if settings.popularity_penalties:
    hidden['popularity'] = {
      'penalties': list(settings.popularity_penalties),
      'num_beams': settings.penalty_beams,
    }
  if data is not None:
    hidden['bias'] = measure_bias(
      rows,
      examples,
      data,
      run.cache.item_tokens,
      exclude_seen=settings.exclude_seen,
    )
    hidden['groups'] = measure_groups(rows, examples, data)
  hidden |= _hallucination(run, facts, examples, settings)
  return Measured(
    metrics=metrics,
    columns=COLUMNS if wished is None else COLUMNS + wishes.COLUMNS,
    arrays={
      'user': examples.user,
      'target': examples.target,
      'tied': examples.tied,
      'history_length': examples.history.lengths,
      'scores': lists.scores,
      **{f'items_{name}': items for name, items in rows.items()},
    },
    read_out=read_out(run, examples, _reader(run, lists, examples.target)),
    facts={
      'invalid_share': check_lists(
        lists, run.cache, examples, settings.exclude_seen, run.step
      ),
      'empty_share': float((lists.items < 0).mean()),
      'search': _describe(settings, settings.num_beams, settings.exclude_seen),
      'calibration': calibrate_lists(lists, examples.target),
      **hidden,
    },
  )


def measure_conversation(
  run: Run,
  facts: TaskFacts,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None,
) -> Measured:
  """Ranks the items that turns of dialogues name, with and without repeats.

  Examples of one turn are one: they have the same list. Lists may hold what
  the dialogue mentioned already; the rows 'without mentioned' leave it out.
  They reach to the last cutoff of the field, 50, or to the catalogue's end.
  """
  turns, targets = group_turns(examples)
  width = min(conversation.CUTOFFS[-1], len(run.cache.item_tokens))
  width = max(width, settings.num_beams)
  rows, found, invalid = {}, {}, 0.0
  for name, exclude in (('model', False), ('model, without mentioned', True)):
    lists = rank_items(
      run,
      turns,
      num_beams=width,
      normalization=settings.normalization,
      exclude_seen=exclude,
      batch_size=settings.batch_size,
    )
    invalid = max(
      invalid, check_lists(lists, run.cache, turns, exclude, run.step)
    )
    rows[name], found[name] = lists.items, lists
  if settings.cold_share:
    like_model = dataclasses.replace(
      settings, num_beams=width, exclude_seen=False
    )
    name = unseen.row_name(settings.cold_share)
    rows[name] = unseen.rank_with_share(run, turns, found['model'], like_model)
  if data is not None and settings.baselines:
    named = *data.mentions(), data.dataset.num_items
    for name, baseline, exclude in (
      ('copy_context', CopyContext(), False),
      ('popularity', Popularity(), False),
      ('popularity, without mentioned', Popularity(), True),
      ('item_knn', ItemKNN(), False),
      ('item_knn, without mentioned', ItemKNN(), True),
    ):
      rows[name] = protocol.recommend(
        baseline.fit(*named), turns.history, top_k=width, exclude_seen=exclude
      )
  columns = [f'recall@{k}' for k in conversation.CUTOFFS if k <= width]
  return Measured(
    metrics={
      name: conversation.conversation_metrics(items, targets, turns.history)
      for name, items in rows.items()
    },
    columns=(*columns, *(f'turn_{name}' for name in columns)),
    arrays={
      'dialogue': turns.user,
      'targets': targets.values,
      'targets_offsets': targets.offsets,
      'scores': found['model'].scores,
      **{f'items_{name}': items for name, items in rows.items()},
    },
    read_out=read_out(run, turns, _reader(run, found['model'], targets)),
    facts={
      'turns': len(turns),
      'invalid_share': invalid,
      'empty_share': float((rows['model'] < 0).mean()),
      'search': _describe(settings, width, False),
      **_hallucination(run, facts, examples, settings),
    },
  )


def _hallucination(
  run: Run, facts: TaskFacts, examples: TokenExamples, settings: Settings
) -> dict[str, Any]:
  """Returns what is decoded without the trie, where that is asked for."""
  if settings.hallucination_examples == 0:
    return {}
  found = measure_invented_items(run, facts, examples, settings)
  return {'hallucination': {'items': found}}


def calibrate_lists(
  lists: Lists, target: Int[np.ndarray, 'E']
) -> dict[str, dict[str, Any]]:
  """Measures whether the probabilities of lists are what happens.

  A score is the log-probability of an item, so the first place says how likely
  it is to be the target, and the sum over places how likely the list is to
  hold it.

  Returns:
    The calibration of 'the first item' and of 'the first 10 items', or of as
    many as there are.
  """
  found = {}
  for k in dict.fromkeys((1, min(CALIBRATED, lists.items.shape[1]))):
    # Where there is no item the score is -inf, a probability of 0.
    p = np.exp(lists.scores[:, :k].astype(float)).sum(axis=1)
    hit = (lists.items[:, :k] == np.asarray(target)[:, None]).any(axis=1)
    name = 'the first item' if k == 1 else f'the first {k} items'
    found[name] = measure_calibration(np.minimum(p, 1.0), hit)
  return found


def group_turns(examples: TokenExamples) -> tuple[TokenExamples, Ragged]:
  """Returns one example a turn, and the items that each turn names."""
  offsets = turn_offsets(examples)
  targets = Ragged(np.asarray(examples.target), offsets)
  return take_examples(examples, offsets[:-1]), targets


def held_out_targets(
  run: Run, examples: TokenExamples
) -> Bool[np.ndarray, 'E'] | None:
  """Returns which targets were held out of training; None where none was."""
  cold = splits.held_out_items(run.directory / 'dataset')
  return np.isin(examples.target, cold) if len(cold) else None


def _reader(
  run: Run, lists: Lists, targets: Int[np.ndarray, 'E'] | Ragged
) -> Callable[[int], tuple[list[str], str]]:
  names = run.cache.item_names

  def say(row):
    output = [
      f'{names[item]} ({score:.2f})'
      for item, score in zip(lists.items[row, :SHOWN], lists.scores[row])
      if item >= 0
    ]
    truth = ', '.join(names[item] for item in np.atleast_1d(targets[row]))
    return output, truth

  return say


def _describe(settings: Settings, num_beams: int, exclude_seen: bool):
  return {
    'num_beams': num_beams,
    'normalization': settings.normalization,
    'exclude_seen': exclude_seen,
    'batch_size': settings.batch_size,
  }
