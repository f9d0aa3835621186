"""How often each task of a mixture is trained on."""

from __future__ import annotations

from collections.abc import Mapping

from genrec_jax.types import GenrecError


def mixing_rates(
  num_examples: Mapping[str, int],
  *,
  cap: int | None = None,
  temperature: float = 1.0,
) -> dict[str, float]:
  """Returns the share of batches that each task gives.

  Examples-proportional mixing: a task of e examples has the weight
  min(e, cap), to the power 1 / temperature (Raffel et al. 2020, section
  3.5.2, https://arxiv.org/abs/1910.10683; SeqIO's `mixing_rate_num_examples`
  with `maximum` and `temperature`).

  >>> mixing_rates({'top_n': 90, 'review': 10})
  {'top_n': 0.9, 'review': 0.1}
  >>> mixing_rates({'top_n': 90, 'review': 10}, cap=10)
  {'top_n': 0.5, 'review': 0.5}
  >>> mixing_rates({'top_n': 90, 'review': 10}, temperature=2)
  {'top_n': 0.75, 'review': 0.25}

  Args:
    num_examples: by task.
    cap: what a task counts at most; None for no cap.
    temperature: 1 keeps the weights, a higher one makes them more alike.

  Raises:
    GenrecError: if a task has no examples, or a setting is out of its range.
  """
  empty = [task for task, count in num_examples.items() if count < 1]
  if empty or not num_examples:
    raise GenrecError(
      f'There is nothing to mix of {empty or "no tasks"}; expected at least one'
      ' train example each. Leave those tasks out.'
    )
  if cap is not None and cap < 1:
    raise GenrecError(f'Got a cap of {cap} examples, expected at least 1.')
  if not temperature > 0:
    raise GenrecError(
      f'Got the mixing temperature {temperature}, expected a number above 0.'
    )
  weights = {
    task: min(count, cap or count) ** (1 / temperature)
    for task, count in num_examples.items()
  }
  total = sum(weights.values())
  return {task: weight / total for task, weight in weights.items()}
