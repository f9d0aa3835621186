"""The one place that decides by the kind of a task's answer."""

from __future__ import annotations

from genrec_jax.answering.choices import (
  RatingAnswers,
  YesNoAnswers,
  rate,
  say_yes_or_no,
)
from genrec_jax.answering.items import rank_items
from genrec_jax.answering.run import Run
from genrec_jax.answering.texts import (
  GREEDY,
  TextAnswers,
  TextDecoding,
  write_replies,
  write_texts,
)
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.recommend import Lists
from genrec_jax.types import unknown_name

Answers = Lists | RatingAnswers | YesNoAnswers | TextAnswers


def answer(
  run: Run,
  task: str,
  examples: TokenExamples,
  *,
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool | None = None,
  text_decoding: TextDecoding = GREEDY,
  batch_size: int = 128,
) -> Answers:
  """Answers examples of a task, whatever kind of answer it has.

  Args:
    run: the model, see `run.load_run`.
    task: of the token cache.
    examples: of that task: some that are stored, or others made like them; of
      these the answers (`targets`, `target`) are not looked at.
    num_beams: of items: the length of the lists and the width of the search.
    normalization: of items: what a score is.
    exclude_seen: of items: leave out those of the history. By default so, but
      not in dialogues, which may come back to what they mentioned.
    text_decoding: of texts and replies.
    batch_size: examples decoded at once.

  Returns:
    Of an 'item' `decoding.recommend.Lists`, of a 'rating' `RatingAnswers`, of
    'yes_no' `YesNoAnswers`, of a 'text' and of a 'reply' `TextAnswers`.

  Raises:
    GenrecError: if there is no such task, there are no examples, or the
      parameters give scores that are not numbers.
  """
  facts = run.facts(task)
  if facts.kind == 'item':
    if exclude_seen is None:
      exclude_seen = not facts.of_dialogues
    return rank_items(
      run,
      examples,
      num_beams=num_beams,
      normalization=normalization,
      exclude_seen=exclude_seen,
      batch_size=batch_size,
    )
  if facts.kind == 'rating':
    return rate(run, facts, examples, batch_size=batch_size)
  if facts.kind == 'yes_no':
    return say_yes_or_no(run, facts, examples, batch_size=batch_size)
  if facts.kind == 'text':
    return write_texts(run, examples, text_decoding, batch_size=batch_size)
  if facts.kind == 'reply':
    return write_replies(run, examples, text_decoding, batch_size=batch_size)
  raise unknown_name(
    'kind of answer', facts.kind, ('item', 'rating', 'yes_no', 'text', 'reply')
  )
