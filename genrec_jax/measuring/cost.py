"""What a list of items costs: time, memory and operations.

A model and a baseline are set side by side on the same requests in the same
batches: each becomes a `Contender`, and `measure` lets them take turns.
"""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.answering.run import Run
from genrec_jax.baselines import protocol
from genrec_jax.data.batch_plans import PlannedBatch, plan_batches
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.block_states import BlockStates
from genrec_jax.decoding.recommend import (
  lower_search,
  make_recommend_fn,
  seen_items,
  take_examples,
)
from genrec_jax.measuring.timing import take_turns, time_calls
from genrec_jax.types import GenrecError

PyTree = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
  """A method that answers the batches of a plan.

  Attributes:
    calls: answers one batch each, from what was asked to lists of items.
    flops: operations a request, None where they are not known.
    bytes_held: of what it needs for any request: parameters, tables, indexes.
    bytes_peak: the most at a time while it answers.
  """

  calls: Sequence[Callable[[], Any]]
  flops: float | None
  bytes_held: int
  bytes_peak: int


@dataclasses.dataclass(frozen=True)
class Program:
  """What the compiler says of the search for one batch, on one device.

  Attributes:
    flops: operations of the batch. Where the search decides on its way how it
      scores the last tokens, those of the dearer way.
    bytes_held: of parameters, catalogue, inputs and states that are kept.
    bytes_peak: of these, its results and its temporary arrays.
  """

  flops: float
  bytes_held: int
  bytes_peak: int


def full_batches(
  examples: TokenExamples, batch_size: int, widths: Sequence[int]
) -> list[PlannedBatch]:
  """Returns batches without an empty row, of like length.

  Raises:
    GenrecError: if there are fewer examples than fill one.
  """
  plan = plan_batches(examples.inputs.lengths, widths, (batch_size,))
  plan = [batch for batch in plan if (batch.index >= 0).all()]
  if not plan:
    raise GenrecError(
      f'Got {len(examples)} requests, which do not fill a batch of'
      f' {batch_size}; lower batch_sizes, or raise num_requests.'
    )
  return plan


def model_contender(
  run: Run,
  examples: TokenExamples,
  plan: Sequence[PlannedBatch],
  *,
  num_beams: int,
  normalization: str = 'vocabulary',
  exclude_seen: bool = True,
  blocks: BlockStates | None = None,
) -> Contender:
  """Returns the model's search as a contender.

  Args:
    run: the model.
    examples: the requests.
    plan: the batches; none with an empty row.
    num_beams: the length of lists, and the width of the search.
    normalization: what a score is.
    exclude_seen: leave out the items of each history.
    blocks: what is kept of blocks; all that is asked for is computed now, and
      the operations and memory are those of a request that finds it there.
  """
  search = make_recommend_fn(
    run.model, run.trie, num_beams=num_beams, normalization=normalization
  )
  if blocks is not None:
    search = blocks.recommending(search)

  def answer(batch):
    features = {
      'encoder_input_tokens': examples.inputs.padded(batch.index, batch.width)
    }
    if exclude_seen:
      features['exclude'] = seen_items(examples.history, batch.index)
    with run.partitioned():
      features = dict(run.place(features))
      found = search(run.params, features, features.pop('exclude', None))
      return np.asarray(found.items), np.asarray(found.scores)

  if blocks is not None:
    for batch in plan:
      answer(batch)
  num_seen = seen_items(examples.history, plan[0].index).shape[1]
  programs = {
    width: analyse_search(
      run.model,
      run.params,
      run.trie,
      rows=len(plan[0].index),
      width=width,
      num_beams=num_beams,
      normalization=normalization,
      num_seen=num_seen if exclude_seen else 0,
      table_rows=0 if blocks is None else len(blocks.table),
    )
    for width in {batch.width for batch in plan}
  }
  used = [programs[batch.width] for batch in plan]
  return Contender(
    calls=[lambda batch=batch: answer(batch) for batch in plan],
    flops=sum(program.flops for program in used) / _count_requests(plan),
    bytes_held=max(program.bytes_held for program in used),
    bytes_peak=max(program.bytes_peak for program in used),
  )


def baseline_contender(
  baseline: protocol.Baseline,
  examples: TokenExamples,
  plan: Sequence[PlannedBatch],
  *,
  top_k: int,
  exclude_seen: bool = True,
) -> Contender:
  """Returns a fitted baseline as a contender.

  Its operations are not known. Memory is counted of arrays of NumPy and SciPy
  (and JAX, of what is held): what a library allocates besides is not.

  Args:
    baseline: a fitted one.
    examples: the requests.
    plan: the batches; none with an empty row.
    top_k: the length of lists.
    exclude_seen: leave out the items of each history.
  """
  histories = [take_examples(examples, batch.index).history for batch in plan]

  def answer(history):
    return protocol.recommend(
      baseline, history, top_k=top_k, exclude_seen=exclude_seen
    )

  held = count_bytes(baseline)
  answer(histories[0])  # What is made at the first call is no peak.
  tracemalloc.start()
  try:
    for history in histories:
      answer(history)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  return Contender(
    calls=[lambda history=history: answer(history) for history in histories],
    flops=None,
    bytes_held=held,
    bytes_peak=held + peak,
  )


def measure(
  contenders: dict[str, Contender],
  plan: Sequence[PlannedBatch],
  *,
  rounds: int = 5,
) -> dict[str, dict[str, float | None]]:
  """Returns what each contender costs; they take turns.

  By name: `requests_per_second` (median over rounds, and at best), `p50_ms` and
  `p95_ms` of a batch, `cpu_ms_per_request`, `flops_per_request` (None where it
  is not known), `bytes_held`, `bytes_peak`.

  Args:
    contenders: by name, of the same plan.
    plan: the batches, all of one number of rows.
    rounds: how often each answers all batches.
  """
  sides = {
    name: (lambda calls=contender.calls: time_calls(calls))
    for name, contender in contenders.items()
  }
  timings = take_turns(sides, requests=len(plan[0].index), rounds=rounds)
  return {
    name: {
      **timings[name].describe(),
      'flops_per_request': contender.flops,
      'bytes_held': contender.bytes_held,
      'bytes_peak': contender.bytes_peak,
    }
    for name, contender in contenders.items()
  }


def analyse_search(
  model,
  params: PyTree,
  trie,
  *,
  rows: int,
  width: int,
  num_beams: int,
  normalization: str = 'vocabulary',
  num_seen: int = 0,
  table_rows: int = 0,
) -> Program:
  """Returns what the compiler says of the search for a batch.

  Nothing is run, and arrays may be abstract. As the compiler counts the body
  of a loop once, layers that are scanned are counted one by one.

  Args:
    model: the model class.
    params: its parameters, or their shapes.
    trie: the catalogue.
    rows: of the batch.
    width: of its inputs.
    num_beams: of the search.
    normalization: what a score is.
    num_seen: how many items a request may exclude.
    table_rows: of the states of blocks that are kept; 0 where none are.
  """
  config = model.module.config
  inputs = {'encoder_input_tokens': _shape((rows, width))}
  if table_rows:
    inputs['block_table'] = _shape((table_rows, config.emb_dim), config.dtype)
    inputs['block_rows'] = _shape((rows, width))
  exclude = _shape((rows, num_seen)) if num_seen else None

  def compile_search(model, params):
    return lower_search(
      model,
      jax.tree.map(lambda x: _shape(x.shape, x.dtype), params),
      trie,
      inputs,
      exclude=exclude,
      num_beams=num_beams,
      normalization=normalization,
    ).compile()

  compiled = counted = compile_search(model, params)
  if config.scan_layers:
    unscanned = _unscanned(model)
    counted = compile_search(unscanned, _abstract_params(unscanned))
  # Not the program's arguments: those leave out what this one does not read.
  arrays = jax.tree.leaves((params, trie, inputs, exclude))
  held = sum(array.size * array.dtype.itemsize for array in arrays)
  memory = compiled.memory_analysis()
  return Program(
    flops=float(counted.cost_analysis()['flops']),
    bytes_held=int(held),
    bytes_peak=int(
      held + memory.output_size_in_bytes + memory.temp_size_in_bytes
    ),
  )


def count_bytes(thing: Any) -> int:
  """Returns the bytes of all arrays that something holds, each once."""
  seen: set[int] = set()

  def count(thing) -> int:
    if isinstance(thing, np.ndarray):
      while isinstance(thing.base, np.ndarray):
        thing = thing.base
    if id(thing) in seen:
      return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray | jax.Array):
      return int(thing.nbytes)
    parts: Iterable[Any] = ()
    if isinstance(thing, dict):
      parts = thing.values()
    elif isinstance(thing, list | tuple | set):
      parts = thing
    elif not callable(thing):
      parts = getattr(thing, '__dict__', {}).values()
    return sum(count(part) for part in parts)

  return count(thing)


def _count_requests(plan: Sequence[PlannedBatch]) -> int:
  return sum(len(batch.index) for batch in plan)


def _shape(shape, dtype='int32') -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))


def _unscanned(model):
  """Returns a model of the same sizes whose layers are applied one by one."""
  config = dataclasses.replace(model.module.config, scan_layers=False)
  return type(model)(type(model.module)(config))


def _abstract_params(model) -> PyTree:
  names = ('encoder_input_tokens', 'decoder_input_tokens')
  variables = jax.eval_shape(
    lambda key: model.get_initial_variables(key, dict.fromkeys(names, (1, 8))),
    jax.random.PRNGKey(0),
  )
  return variables['params']
