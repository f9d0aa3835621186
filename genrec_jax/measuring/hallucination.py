"""What answers say that is not so: ratings, mentions and claims.

Of texts, every claim is held against what the catalogue knows of the item
(evaluation/claims.py) and the sentiment against the rating that the user gave
(evaluation/sentiment.py); the true texts stand beside, because the measures
err. Items that do not exist are measured in invented_items.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from genrec_jax.answering.facts import TaskFacts
from genrec_jax.data.item_ratings import LIKED
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.evaluation.claims import ClaimVocabulary, claim_metrics
from genrec_jax.evaluation.outputs import (
  NO_ITEM,
  DialogueTurn,
  Failure,
  Rating,
)
from genrec_jax.evaluation.rating import liking_metrics
from genrec_jax.evaluation.sentiment import Sentiment, contradiction_metrics
from genrec_jax.evaluation.significance import ratio_bootstrap
from genrec_jax.ids.textual import words
from genrec_jax.measuring.train_data import TrainData
from genrec_jax.types import GenrecError

TRUE = 'the true texts'
# The same texts said of other items: what claims come to by chance.
OF_OTHERS = 'the true texts, of other items'
# Slots of prompts that tell how an item was rated.
TELL_RATING = ('rating', 'review', 'summary')


def measure_written_ratings(
  written: Sequence[Rating | Failure],
  choices: Sequence[float],
  user: Integer[np.ndarray, 'E'],
) -> dict[str, Any]:
  """Returns how often what is written is no rating that a user can give.

  Args:
    written: of each example.
    choices: the ratings that train interactions have.
    user: of each example.

  Returns:
    By row, the shares `no_rating`, of answers that are none; `off_scale`, that
    are above or below all; `no_choice`, on the scale, but never given; and
    `invalid`, of any of these, {n, mean, low, high}.
  """
  failed = np.array([isinstance(one, Failure) for one in written])
  values = [None if isinstance(one, Failure) else one for one in written]
  clamped = np.array([one is not None and one.clamped for one in values])
  known = np.array([one is not None and one.value in choices for one in values])
  no_choice = ~(failed | clamped | known)
  invalid = failed | clamped | no_choice
  return {
    'rows': {
      'model, written': {
        'invalid': ratio_bootstrap(invalid, np.ones(len(invalid)), user),
        'no_rating': float(failed.mean()),
        'off_scale': float(clamped.mean()),
        'no_choice': float(no_choice.mean()),
      }
    }
  }


def measure_mentions(
  said: Mapping[str, Sequence[DialogueTurn | Failure]],
  dialogue: Integer[np.ndarray, 'E'],
) -> dict[str, Any]:
  """Returns how many items that turns name do not exist, by row.

  Args:
    said: the turns of each row.
    dialogue: of each turn; intervals are over dialogues.

  Returns:
    `no_item`, the share of mentions, and `any_no_item`, of turns, each {n,
    mean, low, high}; and how many `mentions` there are.
  """
  rows = {}
  for name, turns in said.items():
    named = [() if isinstance(one, Failure) else one.mentions for one in turns]
    total = np.array([len(mentions) for mentions in named])
    invented = np.array(
      [sum(m.item == NO_ITEM for m in mentions) for mentions in named]
    )
    rows[name] = {
      'no_item': ratio_bootstrap(invented, total, dialogue),
      'any_no_item': ratio_bootstrap(
        invented > 0, np.ones(len(total)), dialogue
      ),
      'mentions': int(total.sum()),
    }
  return {'rows': rows}


def measure_text_claims(
  facts: TaskFacts,
  examples: TokenExamples,
  written: Mapping[str, Sequence[str]],
  truth: Sequence[str],
  data: TrainData,
  *,
  seed: int = 0,
) -> dict[str, Any]:
  """Measures what texts about items claim, and whether they fit the rating.

  Args:
    facts: of the task.
    examples: E of them.
    written: texts by row.
    truth: the true texts.
    data: metadata of items, and what claims are learnt from.
    seed: of who stands for whom in `OF_OTHERS`.

  Returns:
    JSON values: `claims`, by what they are held against, and `contradictions`;
    each where the data have what it takes.
  """
  rows = {**written, TRUE: truth}
  user = np.asarray(examples.user)
  about = [[item] for item in examples.target.tolist()]
  result: dict[str, Any] = {}
  vocabularies = claim_vocabularies(data)
  if vocabularies:
    result['claims'] = {
      source: {
        'names': len(vocabulary.phrases),
        'rows': {
          name: claim_metrics(texts, about, vocabulary, user)
          for name, texts in rows.items()
        }
        | _of_others(truth, about, vocabulary, user, seed),
      }
      for source, vocabulary in vocabularies.items()
    }
  contradictions = _contradictions(facts, examples, rows, data)
  if contradictions is not None:
    result['contradictions'] = contradictions
  return result


def measure_reply_claims(
  turns: Mapping[str, Sequence[DialogueTurn | Failure]],
  truth: Sequence[DialogueTurn | Failure],
  examples: TokenExamples,
  data: TrainData,
) -> dict[str, Any]:
  """Measures what turns of dialogues claim of the items they speak of.

  Those are the items that the turn names, or where it names none those of the
  true turn; and those that the dialogue has named before. The names themselves
  claim nothing.

  Args:
    turns: by row.
    truth: the true turns.
    examples: of these, E.
    data: metadata of items.

  Returns:
    `claims`, by what they are held against; nothing where there is nothing.
  """
  history = _rows(examples.history)
  said = {**turns, TRUE: truth}
  return {
    'claims': {
      source: {
        'names': len(vocabulary.phrases),
        'rows': {
          name: claim_metrics(
            ['' if isinstance(o, Failure) else o.text for o in of_row],
            [
              {*(_items(one) or _items(true)), *before}
              for one, true, before in zip(of_row, truth, history)
            ],
            vocabulary,
            np.asarray(examples.user),
            spared=[_spans(one) for one in of_row],
          )
          for name, of_row in said.items()
        },
      }
      for source, vocabulary in claim_vocabularies(data).items()
      if source != 'features'
    }
  }


def claim_vocabularies(data: TrainData) -> dict[str, ClaimVocabulary]:
  """Returns what texts can be held to, by where it is from.

  `attributes` of items or, where no item has any, `titles`, whose words then
  are the claims. Where interactions tell which feature they speak of, also
  `features`: a claim is true where some train interaction of the item speaks
  of it, too. What nobody claims is left out.
  """
  # Late: scikit-learn takes a second to import.
  from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

  items = data.dataset.items
  attributes = [names or [] for names in items['attributes'].to_pylist()]
  titles = items['title'].to_pylist()
  known = [[*names, title or ''] for names, title in zip(attributes, titles)]
  names = {
    'attributes': {name for found in attributes for name in found if name},
    'titles': {word for title in titles if title for word in words(title)},
  }
  if names['attributes']:
    del names['titles']
  sources = {source: (found, known) for source, found in names.items()}
  features = data.all_features()
  if features:
    of_item: list[set[str]] = [set() for _ in known]
    _, item, spoken_of = data.texts('feature')
    for number, feature in zip(item.tolist(), spoken_of):
      of_item[number].add(feature)
    sources['features'] = (
      set(features),
      [[*more, *texts] for more, texts in zip(of_item, known)],
    )
  vocabularies = {}
  for source, (found, texts) in sources.items():
    try:
      vocabularies[source] = ClaimVocabulary(
        found, texts, ignore=ENGLISH_STOP_WORDS
      )
    except GenrecError:  # names without a word
      continue
  return vocabularies


def _of_others(
  truth: Sequence[str],
  about: Sequence[Sequence[int]],
  vocabulary: ClaimVocabulary,
  user: Int[np.ndarray, 'E'],
  seed: int,
) -> dict[str, Any]:
  """Returns the row of true texts that are said of one another's items."""
  if len(truth) < 2:
    return {}
  order = np.random.default_rng(seed).permutation(len(truth))
  other = np.empty_like(order)
  other[order] = np.roll(order, 1)
  items = [about[place] for place in other]
  return {OF_OTHERS: claim_metrics(truth, items, vocabulary, user)}


def _contradictions(
  facts: TaskFacts,
  examples: TokenExamples,
  rows: Mapping[str, Sequence[str]],
  data: TrainData,
) -> dict[str, Any] | None:
  """Returns how often texts contradict the rating; None without ratings."""
  if not data.has('rating', facts.asked):
    return None
  texts, ratings = data.rated_texts(facts.asked)
  train_liked = ratings >= LIKED
  if not len(texts) or train_liked.all() or not train_liked.any():
    return None
  given = data.column('rating', examples)
  rated = np.array([rating is not None for rating in given])
  liked = np.array([rating is not None and rating >= LIKED for rating in given])
  if not rated.any():
    return None
  sentiment = Sentiment().fit(texts, train_liked)
  found, judged = {}, {}
  for name, of_row in rows.items():
    spoken = rated & np.array([bool(words(text)) for text in of_row])
    judged[name] = sentiment.liking(of_row), spoken
    found[name] = contradiction_metrics(
      judged[name][0], liked, spoken, examples.user
    )
  liking, spoken = judged[TRUE]
  known = {
    'n_train': len(texts),
    'liked_share': float(liked[rated].mean()),
    'liked_from': LIKED,
    'told': [slot for slot in TELL_RATING if slot in facts.prompt],
  }
  if spoken.any():
    right = (liking >= 0.5) == liked
    known['accuracy'] = float(right[spoken].mean())
    if 0 < liked[spoken].sum() < spoken.sum():
      known['auc'] = liking_metrics(liking[spoken], liked[spoken])['auc']
  return {'classifier': known, 'rows': found}


def _items(turn: DialogueTurn | Failure) -> tuple[int, ...]:
  return () if isinstance(turn, Failure) else turn.items


def _spans(turn: DialogueTurn | Failure) -> list[tuple[int, int]]:
  if isinstance(turn, Failure):
    return []
  return [(mention.start, mention.stop) for mention in turn.mentions]


def _rows(ragged: Ragged) -> list[list[int]]:
  return [ragged[row].tolist() for row in range(len(ragged))]
