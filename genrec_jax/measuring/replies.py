"""Measures turns of dialogues: what they say, and which items they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.run import Run
from genrec_jax.answering.texts import TextAnswers, write_replies
from genrec_jax.baselines import protocol
from genrec_jax.baselines.dialogues import CopyContext
from genrec_jax.baselines.popularity import Popularity
from genrec_jax.baselines.texts import MostFrequentText
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.evaluation import outputs
from genrec_jax.evaluation.outputs import DialogueTurn, Failure
from genrec_jax.evaluation.text import example_rouge, text_metrics
from genrec_jax.measuring.hallucination import (
  measure_mentions,
  measure_reply_claims,
)
from genrec_jax.measuring.measured import (
  Measured,
  Settings,
  of_all,
  read_out,
  say_output,
)
from genrec_jax.measuring.texts import COLUMNS, check_truth
from genrec_jax.measuring.train_data import TrainData

OF_ITEMS = ('naming_share', 'named_recall', 'invented_share')


def measure_replies(
  run: Run,
  facts: TaskFacts,
  examples: TokenExamples,
  settings: Settings,
  data: TrainData | None,
) -> Measured:
  """Measures replies, decoded with the trie and without it.

  Floors of what is said: the train reply most used. Of the items named: the
  last that the dialogue mentioned, and the one most named in train dialogues.
  """
  turns = [run.parser.dialogue_turn(t) for t in _rows(examples.targets)]
  truth = check_truth(facts, turns)
  decodings = {
    'model': settings.text_decoding,
    'model, without the trie': dataclasses.replace(
      settings.text_decoding, free_mentions=True
    ),
  }
  metrics, answers, text_settings = {}, {}, {}
  for name, decoding in decodings.items():
    answers[name] = write_replies(
      run, examples, decoding, batch_size=settings.batch_size
    )
    said = answers[name].first
    found = text_metrics(outputs.texts(said), truth)
    text_settings = found.pop('settings')
    counted = outputs.count_failures(said)
    metrics[name] = of_all(
      {
        **found,
        **measure_named(said, turns),
        'failed_share': counted['failed_share'],
      }
    )
  if data is not None:
    metrics |= _floors(examples, turns, truth, data)
  said = {name: found.first for name, found in answers.items()}
  hidden = {'mentions': measure_mentions(said, examples.user)}
  if data is not None:
    hidden |= measure_reply_claims(said, turns, examples, data)
  model: TextAnswers = answers['model']
  return Measured(
    metrics=metrics,
    columns=(*COLUMNS[:5], *OF_ITEMS),
    arrays={
      'dialogue': examples.user,
      'tokens': model.tokens[:, 0],
      'log_probabilities': model.log_probabilities[:, 0],
      **example_rouge(outputs.texts(model.first), truth),
    },
    read_out=read_out(
      run,
      examples,
      lambda row: ([say_output(o) for o in model.outputs[row]], truth[row]),
    ),
    facts={
      'failures': outputs.count_failures(model.first),
      'cut_share': float(1 - model.ended[:, 0].mean()),
      'text_settings': text_settings,
      'text_decoding': settings.text_decoding.describe(),
      'hallucination': hidden,
    },
  )


def measure_named(
  said: Sequence[DialogueTurn | Failure],
  truth: Sequence[DialogueTurn | Failure],
) -> dict[str, float]:
  """Returns how replies name items.

  Returns:
    `naming_share`, of replies that name an item which exists; `mentions`, how
    many names there are in all; `invented_share`, of mentions that are no
    item, left out where there are no mentions; `named_recall`, the share of
    the items of the true replies that the reply names too, over all items.
  """
  named = [() if isinstance(one, Failure) else one.items for one in said]
  mentions = [
    m for one in said if not isinstance(one, Failure) for m in one.mentions
  ]
  result: dict[str, Any] = {
    'naming_share': float(np.mean([bool(items) for items in named])),
    'mentions': len(mentions),
  }
  if mentions:
    invented = [mention.item == outputs.NO_ITEM for mention in mentions]
    result['invented_share'] = float(np.mean(invented))
  return result | _recall(named, truth)


def _recall(
  named: Sequence[Sequence[int]], truth: Sequence[DialogueTurn | Failure]
) -> dict[str, float]:
  hits = [
    item in items
    for items, turn in zip(named, truth)
    if not isinstance(turn, Failure)
    for item in turn.items
  ]
  return {'named_recall': float(np.mean(hits))} if hits else {}


def _floors(
  examples: TokenExamples,
  turns: Sequence[DialogueTurn | Failure],
  truth: Sequence[str],
  data: TrainData,
) -> dict[str, dict[str, dict[str, float]]]:
  usual = MostFrequentText().fit(*data.replies())
  said = usual.predict(examples.user, examples.target)
  found = text_metrics(said, truth)
  found.pop('settings')
  floors = {usual.name: of_all(found)}
  named = *data.mentions(), data.dataset.num_items
  for baseline in (CopyContext(), Popularity()):
    lists = protocol.recommend(
      baseline.fit(*named), examples.history, top_k=1, exclude_seen=False
    )
    items = [[item] for item in lists[:, 0]]
    floors[baseline.name] = of_all({'n': len(turns), **_recall(items, turns)})
  return floors


def _rows(ragged):
  return [ragged[row] for row in range(len(ragged))]
