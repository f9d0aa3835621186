"""Answers requests that come as JSON lines, in the order asked."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

import numpy as np

from genrec_jax.answering.histories import HistoryReader
from genrec_jax.answering.run import Run, load_run, load_tokens
from genrec_jax.answering.serving import Server
from genrec_jax.answering.source_ids import read_new_items, read_query_ids
from genrec_jax.data.token_cache import Ragged, TokenExamples
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.evaluation import results
from genrec_jax.types import GenrecError, PathLike, unknown_name

KEYS = ('history', 'user', 'id')
Request = dict[str, Any]


def serve(
  *,
  run_dir: PathLike,
  model,
  requests: PathLike | None = None,
  out: PathLike | None = None,
  top_k: int = 10,
  num_beams: int = 20,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  new_items: bool = True,
  task: str | None = None,
  split: str = 'test',
  checkpoint: str | int = 'best',
  batch_size: int = 64,
  num_widths: int = 4,
  cache_blocks: bool | None = None,
  warm_up: bool = False,
) -> dict[str, Any]:
  """Lists the best items for each request, a JSON line for a JSON line.

  A request is {"history": ["ID", "ID"]}, oldest first, or {"user": "ID"} for
  what a user of the data had before their held-out item, and may have an "id",
  which the answer repeats. An answer is {"request": NUMBER or "id", "items":
  [{"item": "ID", "name": ..., "score": ...}]}, or has an "error" in place of
  the items; the others are answered all the same. Requests that have come are
  computed together, those of like length in one batch (docs/serving.md), and
  what one gets does not depend on the others. A summary goes to stderr at the
  end.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    requests: a file of them; by default stdin.
    out: a file for the answers; by default stdout.
    top_k: how many items a request gets.
    num_beams: the width of the search, at least top_k.
    normalization: what a score is: 'vocabulary', 'level' or 'children'.
    exclude_seen: leave out the items of each history.
    new_items: whether items that were added to the run may be listed.
    task: whose prompts to fill in; by default the first whose answer is an
      item.
    split: of users of the data, 'test', or 'validation' for the state one item
      earlier.
    checkpoint: 'best' (on validation), 'last' or a step.
    batch_size: the most requests that are computed at once.
    num_widths: input lengths that are compiled; 1 pads all to the longest.
    cache_blocks: keep what the encoder's first layers make of items and words
      from request to request; by default where the model was trained for it
      (gin/serving/block_local.gin).
    warm_up: compile all shapes, and compute what is kept of the catalogue,
      before the first request is read.

  Returns:
    The summary: requests, errors, tokens asked and computed by the encoder's
    upper layers, shapes compiled, seconds; where blocks are kept, also the
    tokens that its first layers computed.

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others, or
      a number is none that can be.
  """
  if not 1 <= top_k <= num_beams:
    raise GenrecError(
      f'Got top_k={top_k} with num_beams={num_beams}, expected from 1 to'
      ' num_beams; raise num_beams.'
    )
  if split not in results.SPLITS:
    raise unknown_name('split', split, results.SPLITS)
  run_dir = pathlib.Path(run_dir)
  cache = load_tokens(run_dir)
  task = cache.item_task(task)
  added = read_new_items(run_dir, cache) if new_items else None
  cache = cache if added is None else added.extend(cache)
  run = load_run(run_dir, model, checkpoint=checkpoint, cache=cache)
  server = Server(
    run,
    task,
    num_beams=num_beams,
    normalization=normalization,
    exclude_seen=exclude_seen,
    batch_size=batch_size,
    num_widths=num_widths,
    cache_blocks=cache_blocks,
  )
  if warm_up:
    server.warm_up()
  desk = _Desk(run, task, split, HistoryReader(run_dir, cache, task, added))
  summary = {'requests': 0, 'errors': 0, 'tokens': 0, 'computed_tokens': 0}
  start = time.perf_counter()
  with contextlib.ExitStack() as files:
    lines = sys.stdin
    if requests is not None:
      lines = files.enter_context(_open(requests, 'r', 'requests'))
    answers = sys.stdout
    if out is not None:
      answers = files.enter_context(_open(out, 'w', 'out'))
    for numbered in _take_together(lines, most=16 * batch_size):
      for answer in desk.answer(server, numbered, top_k, summary):
        print(json.dumps(answer, ensure_ascii=False), file=answers)
      answers.flush()
  summary['seconds'] = round(time.perf_counter() - start, 3)
  summary['shapes'] = len(server.shapes)
  if server.blocks is not None:
    summary['block_tokens'] = server.blocks.computed
  print(_tell(summary), file=sys.stderr, flush=True)
  return summary


class _Desk:
  """Reads requests, has them answered, and writes the answers."""

  def __init__(self, run: Run, task: str, split: str, reader: HistoryReader):
    self._run = run
    self._reader = reader
    self._split = split
    self._of_users = run.cache.examples(task, split)
    of_dialogues = run.facts(task).of_dialogues
    ids = read_query_ids(run.directory, of_dialogues=of_dialogues)
    self._example = {
      str(user if ids is None else ids[user]): example
      for example, user in enumerate(self._of_users.user)
    }

  def answer(
    self,
    server: Server,
    numbered: Sequence[tuple[int, str]],
    top_k: int,
    summary: dict[str, Any],
  ) -> list[dict[str, Any]]:
    """Returns the answers to lines with their numbers; counts what was done."""
    answers, read = [], []
    for number, line in numbered:
      answers.append({'request': number})
      try:
        request = _parse(line)
        answers[-1]['request'] = request.get('id', number)
        read.append((len(answers) - 1, self._read(request)))
      except GenrecError as error:
        answers[-1]['error'] = str(error)
    if read:
      examples = _join([example for _, example in read])
      lists = server.answer(examples)
      summary['tokens'] += int(examples.inputs.lengths.sum())
      summary['computed_tokens'] += sum(
        batch.num_tokens for batch in server.plan(examples)
      )
      for row, (place, _) in enumerate(read):
        answers[place]['items'] = [
          {
            'item': self._reader.item_ids[item],
            'name': self._run.cache.item_names[item],
            'score': float(score),
          }
          for item, score in zip(
            lists.items[row, :top_k], lists.scores[row, :top_k]
          )
          if item >= 0
        ]
    summary['requests'] += len(answers)
    summary['errors'] += len(answers) - len(read)
    return answers

  def _read(self, request: Request) -> TokenExamples:
    """Returns the example of one request."""
    if 'history' in request:
      rows = self._reader.find_items(request['history'])
      return self._reader.examples([rows])
    user = str(request['user'])
    if user not in self._example:
      raise GenrecError(
        f'Got the user {user!r}, expected one of the {len(self._example)} with'
        f' an example in the {self._split} part, such as'
        f' {", ".join([*self._example][:5])}; or give the history itself.'
      )
    return take_examples(self._of_users, [self._example[user]])


def _parse(line: str) -> Request:
  """Returns the request that a line is.

  Raises:
    GenrecError: if it is none.
  """
  try:
    request = json.loads(line)
  except ValueError as error:
    raise GenrecError(
      f'Got no JSON ({error}); expected an object such as {{"history": ["i3",'
      ' "i7"]}.'
    ) from error
  if not isinstance(request, dict) or not {'history', 'user'} & request.keys():
    raise GenrecError(
      f'Got {line.strip()[:40]}; expected an object with a "history" of items,'
      ' or a "user".'
    )
  for key in request:
    if key not in KEYS:
      raise unknown_name('part of a request', key, KEYS)
  if {'history', 'user'} <= request.keys():
    raise GenrecError(
      'Got both a user, who is in the data, and the history of one who is not;'
      ' pass one of them.'
    )
  if not isinstance(request.get('history', []), list | str):
    raise GenrecError(
      f'Got the history {request["history"]!r}; expected a list of item ids.'
    )
  return request


def _join(examples: Sequence[TokenExamples]) -> TokenExamples:
  """Returns the examples of several as one."""

  def join(parts):
    if isinstance(parts[0], Ragged):
      return Ragged.from_rows(part[0] for part in parts)
    return np.concatenate(parts)

  return TokenExamples(
    **{
      field.name: join([getattr(one, field.name) for one in examples])
      for field in dataclasses.fields(TokenExamples)
    }
  )


def _take_together(
  lines: Iterable[str], most: int
) -> Iterator[list[tuple[int, str]]]:
  """Yields the lines that have come, with their numbers, at least one.

  A thread reads on while lines are answered. Blank lines are counted alone.
  """
  waiting: queue.Queue = queue.Queue(maxsize=most)
  end = object()

  def read():
    try:
      for number, line in enumerate(lines, start=1):
        if line.strip():
          waiting.put((number, line))
      waiting.put(end)
    except Exception as error:  # told where the lines are awaited
      waiting.put(error)

  threading.Thread(target=read, daemon=True).start()
  taken: list[tuple[int, str]] = []
  while True:
    got = waiting.get()
    while got is not end and not isinstance(got, Exception):
      taken.append(got)
      if len(taken) == most:
        break
      try:
        got = waiting.get_nowait()
      except queue.Empty:
        break
    if taken:
      yield taken
      taken = []
    if isinstance(got, Exception):
      raise got
    if got is end:
      return


def _open(path: PathLike, mode: str, name: str) -> TextIO:
  try:
    return open(path, mode, encoding='utf-8')
  except OSError as error:
    raise GenrecError(
      f'Cannot open --{name}={path} ({error.strerror}); name a file that can be'
      ' read or written.'
    ) from error


def _tell(summary: dict[str, Any]) -> str:
  """Returns the summary as a sentence."""
  share = summary['tokens'] / max(1, summary['computed_tokens'])
  kept = ''
  if 'block_tokens' in summary:
    kept = (
      f' Its first layers computed {summary["block_tokens"]:,} tokens and took'
      ' the others from the cache.'
    )
  return (
    f'{summary["requests"]} requests, {summary["errors"]} of them errors, in'
    f' {summary["seconds"]:.1f} s. Of the {summary["computed_tokens"]:,} tokens'
    f' that the encoder computed {share:.0%} were asked, in'
    f' {summary["shapes"]} shapes.{kept}'
  )
