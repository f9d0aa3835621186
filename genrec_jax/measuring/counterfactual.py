"""What a model makes of being told who a user is, measured by changing it.

The prompts of the same examples are answered again with other attributes of
their users (answering/attributes.py), an arm a change (arms.py). What comes of
an arm stands beside what comes of the true prompt: how far the answers are
apart, and how much accuracy is lost. Where lists change and accuracy does not,
the attribute biases; where accuracy is lost with it, it personalises.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int, Int32

from genrec_jax.answering.attributes import AttributeTokens, rewrite_attributes
from genrec_jax.answering.choices import score_choices, true_values
from genrec_jax.answering.facts import TaskFacts
from genrec_jax.answering.items import check_scores, rank_items
from genrec_jax.answering.run import Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.examples import map_examples
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.evaluation import bias, counterfactual, ranking, results
from genrec_jax.measuring.arms import WITHOUT, Arm, Changes
from genrec_jax.measuring.measured import Settings
from genrec_jax.types import GenrecError, PathLike

K = 10
# The measures of each kind of answer: how far answers are apart, how accurate
# they are, and what of that is lost by a change (higher is worse).
CHANGE = {'item': f'overlap@{K}', 'rating': 'change', 'yes_no': 'change'}
LOSS = {
  'item': f'ndcg_loss@{K}',
  'rating': 'error_rise',
  'yes_no': 'log_loss_rise',
}
# The measures to look at first.
COLUMNS = {
  'item': (f'overlap@{K}', 'rbo', 'changed', 'first_token', 'target_change'),
  'rating': ('change', 'choices', 'changed'),
  'yes_no': ('change', 'choices', 'changed'),
}
_SCORED = (
  'encoder_input_tokens',
  'decoder_input_tokens',
  'decoder_target_tokens',
  'decoder_loss_weights',
)
_FLOATS_AT_ONCE = 1 << 26  # of distributions over first tokens


class Counterfactuals:
  """The answers to the true prompts, and what changes of them.

  Args:
    run: the model.
    facts: of the task; its answers are items, ratings, or yes or no.
    examples: E of them.
    said: how prompts say attributes.
    values: what the prompts say.
    settings: how answers are decoded.

  Raises:
    GenrecError: if the task's answers are texts, or of dialogues.
  """

  def __init__(
    self,
    run: Run,
    facts: TaskFacts,
    examples: TokenExamples,
    said: AttributeTokens,
    values: Int32[np.ndarray, 'E C'],
    settings: Settings,
  ):
    if facts.kind not in CHANGE or facts.of_dialogues:
      raise GenrecError(
        f'The answers of task {facts.name!r} cannot be compared; expected a'
        ' task that asks for an item, a rating, or yes or no of a user.'
      )
    self._run, self._facts, self._settings = run, facts, settings
    self._examples, self._said, self._values = examples, said, values
    if facts.kind != 'item':
      self._truth = true_values(run, facts, examples)
    self.answers = self._answer(examples)

  def measure(self, arm: Arm) -> Changes:
    """Answers the prompts of an arm, and compares."""
    examples = take_examples(self._examples, arm.rows)
    changed = rewrite_attributes(
      examples,
      self._said,
      self._values[arm.rows],
      arm.values,
      order=arm.order,
    )
    answers = self._answer(changed)
    if self._facts.kind == 'item':
      measures = compare_lists(
        self.answers[arm.rows], answers, examples.target
      ) | compare_scores(
        self._run, examples, changed, batch_size=self._settings.batch_size
      )
    else:
      measures = compare_choices(
        self.answers[arm.rows],
        answers,
        self._truth[arm.rows],
        self._facts.values,
        kind=self._facts.kind,
      )
    return Changes(arm, measures)

  def _answer(self, examples: TokenExamples) -> np.ndarray:
    """Returns lists [E, K], or probabilities of choices [E, C]."""
    if self._facts.kind == 'item':
      lists = rank_items(
        self._run,
        examples,
        num_beams=self._settings.num_beams,
        normalization=self._settings.normalization,
        exclude_seen=self._settings.exclude_seen,
        batch_size=self._settings.batch_size,
      )
      return lists.items
    scores = score_choices(
      self._run,
      self._facts,
      examples,
      batch_size=self._settings.batch_size,
    )
    return np.asarray(jax.nn.softmax(scores.astype(np.float32)), float)

  def against(self, run_dir: PathLike, split: str) -> Changes:
    """Compares with the lists of another run, as its evaluation left them.

    Raises:
      GenrecError: if there are no such lists, or of other examples.
    """
    if self._facts.kind != 'item':
      raise GenrecError(
        f'Task {self._facts.name!r} has no lists to compare with those of'
        f' {run_dir}; leave out --without.'
      )
    name = self._facts.name
    # Of a sample, if there is no more: it may be of the same examples.
    subset = results.measured_tasks(run_dir, split).get(name, False)
    _, arrays = results.read_result(run_dir, split, name, subset=subset)
    measured = zip(arrays['user'].tolist(), arrays['target'].tolist())
    other = dict(zip(measured, arrays['items_model']))
    own = zip(self._examples.user.tolist(), self._examples.target.tolist())
    lists = [other.get(pair) for pair in own]
    if any(items is None for items in lists):
      raise GenrecError(
        f'{run_dir} was measured on other examples than these; pass a run of'
        ' the same dataset and split, evaluated on all of its examples.'
      )
    width = min(self.answers.shape[1], len(lists[0]))
    everyone = np.arange(len(lists))
    return Changes(
      Arm(WITHOUT, WITHOUT, None, everyone, self._values),
      compare_lists(
        self.answers[:, :width],
        np.stack(lists)[:, :width],
        self._examples.target,
      ),
    )

  def accuracy(self) -> dict[str, Float[np.ndarray, 'E']]:
    """Returns how good the answers to the true prompts are."""
    if self._facts.kind == 'item':
      k = min(K, self.answers.shape[1])
      found = ranking.example_metrics(
        self.answers[:, :k], self._examples.target, [k]
      )
      return {
        f'{name}@{K}': found[f'{name}@{k}'] for name in ('ndcg', 'recall')
      }
    expected = self.answers @ np.array(self._facts.values)
    if self._facts.kind == 'rating':
      return {'error': np.abs(expected - self._truth)}
    return {'log_loss': _log_loss(expected, self._truth)}


def compare_choices(
  before: Float[np.ndarray, 'R C'],
  after: Float[np.ndarray, 'R C'],
  truth: Float[np.ndarray, 'R'],
  values: Sequence[float],
  *,
  kind: str,
) -> dict[str, Float[np.ndarray, 'R']]:
  """Returns how far probabilities of choices are apart, and what is lost.

  Args:
    before: of each choice, after the true prompt.
    after: the same after another.
    truth: the value of the true answer.
    values: of the choices.
    kind: 'rating' or 'yes_no'; of the latter yes has the value 1.
  """
  expected = [one @ np.array(values) for one in (before, after)]
  measures = {
    'change': np.abs(expected[1] - expected[0]),
    'choices': np.abs(after - before).sum(axis=1) / 2,
    'changed': (after.argmax(axis=1) != before.argmax(axis=1)).astype(float),
  }
  if kind == 'rating':
    errors = [np.abs(one - truth) for one in expected]
    return measures | {'error_rise': errors[1] - errors[0]}
  losses = [_log_loss(one, truth) for one in expected]
  return measures | {'log_loss_rise': losses[1] - losses[0]}


def _log_loss(yes, truth) -> Float[np.ndarray, 'E']:
  """Returns -log of the probability of what is true; yes has the value 1."""
  return -np.log(np.maximum(np.where(truth == 1, yes, 1 - yes), 1e-12))


def compare_lists(
  before: Int32[np.ndarray, 'R K'],
  after: Int32[np.ndarray, 'R K'],
  target: Int[np.ndarray, 'R'],
) -> dict[str, Float[np.ndarray, 'R']]:
  """Returns how far lists are apart, and what of accuracy is lost."""
  k = min(K, before.shape[1])
  shown = [bias.first_places(items, k) for items in (before, after)]
  metrics = [ranking.example_metrics(one, target, [k]) for one in shown]
  return {
    f'overlap@{K}': counterfactual.overlap(*shown),
    'rbo': counterfactual.rank_biased_overlap(before, after),
    'changed': counterfactual.changed(*shown).astype(float),
    **{
      f'{name}_loss@{K}': metrics[0][f'{name}@{k}'] - metrics[1][f'{name}@{k}']
      for name in ('ndcg', 'recall')
    },
  }


def compare_scores(
  run: Run,
  before: TokenExamples,
  after: TokenExamples,
  *,
  batch_size: int,
) -> dict[str, Float[np.ndarray, 'R']]:
  """Returns how far the model's probabilities are apart after two prompts.

  Returns:
    `first_token`, the total variation between its distributions over the first
    tokens of items; `target_change`, by how much the log-probability of the
    target changes, and `target_loss`, by how much it falls.
  """
  block = run.layout.item_blocks[0]
  measures = []
  step = max(1, _FLOATS_AT_ONCE // len(block))
  for start in range(0, len(before), step):
    rows = range(start, min(start + step, len(before)))
    (first, score), (other, other_score) = (
      _score(run, take_examples(examples, rows), block, batch_size)
      for examples in (before, after)
    )
    fall = np.asarray(score - other_score, float)
    measures.append(
      {
        'first_token': np.abs(first - other).sum(axis=1) / 2,
        'target_change': np.abs(fall),
        'target_loss': fall,
      }
    )
  return {
    name: np.concatenate([one[name] for one in measures])
    for name in measures[0]
  }


def _score(run: Run, examples: TokenExamples, block: range, batch_size: int):
  with run.partitioned():
    found = map_examples(
      lambda batch: _first_and_target(
        run.params, batch, model=run.model, first=block.start, end=block.stop
      ),
      examples,
      batch_size=run.rows(batch_size, len(examples)),
      names=_SCORED,
      place=run.place,
    )
  check_scores(found[1], run.step)
  return found


@functools.partial(jax.jit, static_argnames=('model', 'first', 'end'))
def _first_and_target(params, batch, *, model, first, end):
  """The distribution over first tokens, and the log-probability of targets."""
  logits = model.logits(params, batch)[:, 0, first:end]
  return jax.nn.softmax(logits), model.score_batch(params, batch)
