"""A checkpoint, with what its answers are made of and read with."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import flax.core
import jax

from genrec_jax import artifacts
from genrec_jax.answering.facts import TaskFacts, task_facts
from genrec_jax.answering.prompts import TextPieces
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.decoding.recommend import trie_of_tokens
from genrec_jax.decoding.trie import Trie
from genrec_jax.evaluation.output_parser import OutputParser
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.training import checkpoints, partitioning
from genrec_jax.training.parameters import check_shapes
from genrec_jax.types import PathLike

PyTree = Any
# Input lengths that are compiled for answers in text: their time goes into the
# steps of the decoder, and into compiling, more than into padded inputs.
NUM_BUCKETS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """A model that can be asked.

  Attributes:
    directory: of the run.
    cache: its tokens: vocabulary, items, examples.
    model: the model class.
    params: its parameters, on the devices.
    step: of the checkpoint.
    mesh: the devices; None where the parameters lie where JAX put them.
    trie: the catalogue.
    axis_rules: logical axis to mesh axis; None for those of the context, or
      the default.
  """

  directory: pathlib.Path
  cache: TokenCache
  model: Any
  params: PyTree
  step: int
  mesh: jax.sharding.Mesh | None
  trie: Trie
  axis_rules: partitioning.AxisRules | None = None

  @functools.cached_property
  def layout(self) -> TokenLayout:
    """Which token stands for what."""
    return TokenLayout.from_dict(self.cache.layout)

  @functools.cached_property
  def pieces(self) -> TextPieces:
    """Text from tokens and back; needs SentencePiece once there is text."""
    return TextPieces(self.cache.text_model)

  @functools.cached_property
  def parser(self) -> OutputParser:
    """From decoded tokens to typed results, with the names of items."""
    scale = {}
    for task in self.cache.tasks():
      facts = self.facts(task)
      if facts.kind == 'rating' and len(facts.values) > 1:
        scale = {'scale': (min(facts.values), max(facts.values))}
    return OutputParser(
      self.layout,
      self.cache.item_tokens,
      self.pieces.decode,
      item_names=self.cache.item_names,
      **scale,
    )

  def facts(self, task: str) -> TaskFacts:
    """Returns what is known of a task."""
    return task_facts(self.cache, task)

  def place(self, batch):
    """Puts a batch on the devices."""
    return dict(batch) if self.mesh is None else place_on(self.mesh)(batch)

  def rows(self, batch_size: int, num_examples: int) -> int:
    """Returns a batch's rows: no more than needed, and some a device."""
    shares = 1 if self.mesh is None else self.mesh.shape['data']
    return -(-min(batch_size, num_examples) // shares) * shares

  def partitioned(self):
    """Returns the context in which the model knows of its mesh."""
    if self.mesh is None:
      return contextlib.nullcontext()
    return partitioning.partitioned(self.mesh, self.axis_rules)


def load_run(
  run_dir: PathLike,
  model,
  *,
  checkpoint: str | int = 'best',
  model_parallel: int = 1,
  axis_rules: partitioning.AxisRules = partitioning.AXIS_RULES,
  cache: TokenCache | None = None,
) -> Run:
  """Loads a checkpoint of a run, with its tokens.

  Args:
    run_dir: the run directory.
    model: the model class that the checkpoint is of.
    checkpoint: 'best' (on validation), 'last' or a step.
    model_parallel: devices that share one copy of the model.
    axis_rules: logical axis to mesh axis.
    cache: its tokens, where they were read already, or extended by new items
      (`NewItems.extend`).

  Raises:
    GenrecError: if an artefact is missing or does not belong to the others.
  """
  partitioning.use_compilation_cache()
  cache = load_tokens(run_dir) if cache is None else cache
  mesh = partitioning.make_mesh(model_parallel)
  step, params = load_params(
    run_dir, model, cache, checkpoint, mesh, axis_rules
  )
  return Run(
    directory=pathlib.Path(run_dir),
    cache=cache,
    model=model,
    params=params,
    step=step,
    mesh=mesh,
    trie=trie_of_tokens(cache),
    axis_rules=axis_rules,
  )


def load_tokens(run_dir: PathLike) -> TokenCache:
  """Opens a run's token cache; checks it against the run's data and ids.

  Raises:
    GenrecError: if there is none, or data or ids have been made anew since.
  """
  run_dir = pathlib.Path(run_dir)
  inputs = {
    kind: artifacts.read_manifest(run_dir / kind, kind)['fingerprint']
    for kind in ('dataset', 'ids')
    if (run_dir / kind / artifacts.MANIFEST).exists()
  }
  return TokenCache.load(run_dir / 'tokens', inputs=inputs)


def load_params(
  run_dir: PathLike,
  model,
  cache: TokenCache,
  checkpoint: str | int,
  mesh: jax.sharding.Mesh,
  axis_rules: partitioning.AxisRules = partitioning.AXIS_RULES,
) -> tuple[int, PyTree]:
  """Returns the step and the parameters of a checkpoint, on the mesh.

  Raises:
    GenrecError: if there is no such checkpoint, it was trained on other ids,
      or it is of another model.
  """
  directory = pathlib.Path(run_dir) / 'checkpoints'
  step = checkpoints.find_checkpoint(directory, checkpoint)
  params = checkpoints.restore_params(
    directory, step=step, inputs={'vocabulary': cache.vocabulary_fingerprint}
  )
  names = ('encoder_input_tokens', 'decoder_input_tokens')
  with partitioning.partitioned(mesh, axis_rules):
    variables = jax.eval_shape(
      lambda key: model.get_initial_variables(
        key, {name: (mesh.shape['data'], 8) for name in names}
      ),
      jax.random.PRNGKey(0),
    )
  check_shapes(
    params,
    flax.core.unfreeze(variables['params']),
    what=f'Checkpoint {step} of {directory} is of another model',
    way_out='use the configuration that the run was trained with',
  )
  shardings = partitioning.parameter_shardings(variables, mesh, axis_rules)
  return step, jax.device_put(params, shardings)


def place_on(mesh: jax.sharding.Mesh):
  """Returns the function that cuts a batch over the mesh's data axis."""
  return functools.partial(
    partitioning.put_batch, sharding=partitioning.batch_sharding(mesh)
  )
