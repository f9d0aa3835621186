"""What comes of measuring one task, and how it is to be measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from genrec_jax.answering.prompts import spell_prompt
from genrec_jax.answering.run import Run
from genrec_jax.answering.texts import GREEDY, TextDecoding
from genrec_jax.baselines import protocol
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.evaluation.outputs import Failure

READ_OUT = 3  # examples of each task that a report shows


@dataclasses.dataclass(frozen=True)
class Settings:
  """How tasks are measured.

  Attributes:
    num_beams: the length of lists of items, and the width of the search.
    normalization: what an item's score is.
    exclude_seen: leave out the items of each history, also for baselines.
    cold_share: measure lists of items once more with this share of the places
      kept for items that training never saw; 0 does not.
    popularity_penalties: measure them once more for each of these.
    penalty_beams: the width of the search that those lists are chosen from.
    hallucination_examples: decode lists of items without the trie, too, on so
      many examples (invented_items.py); 0 does not, None takes all.
    text_decoding: how texts are decoded.
    batch_size: examples decoded at once.
    baselines: of lists of items.
  """

  num_beams: int = 20
  normalization: str = 'vocabulary'
  exclude_seen: bool = True
  cold_share: float = 0.0
  popularity_penalties: Sequence[float] = ()
  penalty_beams: int = 100
  hallucination_examples: int | None = 0
  text_decoding: TextDecoding = GREEDY
  batch_size: int = 128
  baselines: Sequence[Callable[[], protocol.Baseline]] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
  """The measures of one task.

  Attributes:
    metrics: by row, by slice, by name: `metrics['model']['all']['recall@10']`.
      Rows are 'model', other ways of taking its answers ('model, generated'),
      and the floors. All of them are of the same examples.
    columns: the metrics to look at first.
    arrays: of the examples, for significance tests and the report.
    read_out: some examples for people, see `read_out`.
    facts: how they were measured, JSON values.
  """

  metrics: dict[str, dict[str, dict[str, float]]]
  columns: tuple[str, ...]
  arrays: dict[str, np.ndarray]
  read_out: list[dict[str, Any]]
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_out(
  run: Run,
  examples: TokenExamples,
  say: Callable[[int], tuple[Sequence[str], str]],
) -> list[dict[str, Any]]:
  """Returns a few examples as people read them: prompt, output and truth.

  They lie evenly among the examples: none is chosen for its answer.

  Args:
    run: the model.
    examples: E of them.
    say: of the number of an example, the lines of the output, and the truth.

  Returns:
    JSON values; nothing where the prompts hold text and SentencePiece, which
    would spell it, is not installed.
  """
  if not run.pieces.available:
    return []
  shown = np.linspace(0, len(examples) - 1, READ_OUT).astype(int)
  result = []
  for row in dict.fromkeys(shown.tolist()):
    output, truth = say(row)
    result.append(
      {
        'example': row,
        'user': int(examples.user[row]),
        'prompt': spell_prompt(examples.inputs[row], run.layout, run.parser),
        'output': list(output),
        'truth': truth,
      }
    )
  return result


def say_output(output: Any) -> str:
  """Returns a text or a turn of a dialogue, or why there is none."""
  if isinstance(output, Failure):
    return f'({output.reason}: {output.raw})'
  return output.text


def of_all(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Returns metrics that have no slices as the slice 'all'."""
  return {'all': dict(metrics)}
