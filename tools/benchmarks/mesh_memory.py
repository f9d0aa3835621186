"""Which mesh a model size wants on which devices: arithmetic, and its check.

  python tools/benchmarks/mesh_memory.py
  python tools/benchmarks/mesh_memory.py --check=xl:fsdp:16:1,xxl:sequence:64:8

The first prints, per model of gin/models and device kind, the smallest mesh
that holds a train step (AdamW) of a batch; the second compiles train steps
ahead of time on a simulated mesh (SIZE:LEAF:DEVICES:MODEL_PARALLEL), prints
the compiler's memory beside the arithmetic, and what devices send each other
(docs/pods.md). No array is made. The compiled programs are of float32, as a
CPU keeps a float32 copy of each bfloat16 array.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
import os
import pathlib

import flax.core
import gin
import jax
import jax.numpy as jnp
import mesh_traffic
from jax.sharding import AbstractMesh, AxisType

from genrec_jax.models.config import T5Config
from genrec_jax.training import optimizers, partitioning, steps

GIN_FILES = pathlib.Path(__file__).resolve().parents[2] / 'gin'
SIZES = ('tiny', 'tiger', 'small', 'base', 'large', 'xl', 'xxl')
# GiB of memory a chip; sources in docs/pods.md.
DEVICES = {
  'v5e': 16,
  'v4': 32,
  'v6e': 32,
  'A100/H100': 80,
  'v5p': 95,
}
# Simulated devices, and programs that are quick to compile: what is cut, sent
# and kept is the same.
XLA_FLAGS = (
  '--xla_force_host_platform_device_count=256',
  '--xla_backend_optimization_level=0',
  '--xla_llvm_disable_expensive_passes=true',
  '--xla_cpu_use_fusion_emitters=false',
)
LEAVES = ('data', 'fsdp', 'fsdp_tensor')  # the simplest first
USABLE = 0.9  # of the memory; the rest is for what the arithmetic leaves out
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Shape:
  """The batch: rows over all devices, and tokens a row."""

  rows: int = 256
  inputs: int = 256
  targets: int = 16


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes a device: what stays between steps, and what a step adds."""

  parameters: int
  moments: int
  gradients: int
  saved: int
  working: int

  @property
  def state(self) -> int:
    """What stays."""
    return self.parameters + self.moments

  @property
  def step(self) -> int:
    """What a step adds at its peak."""
    return self.gradients + self.saved + self.working

  @property
  def total(self) -> int:
    """All of it."""
    return self.state + self.step


def make_model(size: str, dtype: str | None = None):
  """Returns the model of gin/models/SIZE.gin with T5's vocabulary."""
  gin.clear_config()
  bindings = ['VOCAB_SIZE = 32128']
  if dtype is not None:
    bindings.append(f'transformer.T5Config.dtype = {dtype!r}')
  gin.parse_config_files_and_bindings(
    [str(GIN_FILES / 'models' / f'{size}.gin')], bindings
  )
  model = gin.query_parameter('%MODEL').scoped_configurable_fn()
  model.optimizer_def = optimizers.adamw(learning_rate=1e-3)
  return model


def parameters_of(model):
  """Returns the shapes of a model's parameters, with their logical axes."""
  names = ('encoder_input_tokens', 'decoder_input_tokens')
  shapes = {name: (1, 8) for name in (*names, 'decoder_target_tokens')}
  return jax.eval_shape(
    lambda: model.get_initial_variables(jax.random.key(0), shapes)
  )


@functools.cache
def read_rules(leaf: str) -> partitioning.AxisRules:
  """Returns the axis rules of gin/meshes/LEAF.gin."""
  gin.clear_config()
  with contextlib.chdir(GIN_FILES):
    gin.parse_config_file(f'meshes/{leaf}.gin')
  return gin.query_parameter('AXIS_RULES/macro.value')


def predict(
  model,
  variables,
  rules: partitioning.AxisRules,
  data: int,
  parts: int,
  shape: Shape,
) -> Memory:
  """Returns the memory of a train step on a (data, parts) mesh.

  Parameters are counted, leaf by leaf, from their shardings; AdamW has two
  moments of each, and there is a gradient. What a step keeps for the backward
  pass and works with follows from the sizes: see docs/pods.md.
  """
  mesh = AbstractMesh(
    (data, parts), ('data', 'model'), axis_types=(AxisType.Auto,) * 2
  )
  shardings = partitioning.parameter_shardings(variables, mesh, rules)
  parameters = sum(
    math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf, sharding in zip(
      jax.tree.leaves(flax.core.unfreeze(variables['params'])),
      jax.tree.leaves(shardings),
      strict=True,
    )
  )
  working, saved = activations(model.module.config, rules, data, parts, shape)
  return Memory(parameters, 2 * parameters, parameters, saved, working)


def activations(
  config: T5Config,
  rules: partitioning.AxisRules,
  data: int,
  parts: int,
  shape: Shape,
) -> tuple[int, int]:
  """Returns (bytes of the working set, bytes kept for the backward pass)."""
  size = jnp.dtype(config.dtype).itemsize
  fsdp = dict(rules).get('embed') == 'data' and data > 1
  rows = math.ceil(shape.rows / data)
  inputs, targets = rows * shape.inputs, rows * shape.targets
  width = config.emb_dim
  cut = parts if dict(rules).get('length') == 'model' else 1
  heads = config.num_heads // parts
  joined = config.num_heads * config.head_dim // parts
  gates = len(config.mlp_activations)
  hidden = config.mlp_dim // parts
  vocabulary = config.vocab_size // parts

  if config.remat_policy == 'none':
    # Streams and norms, projections, MLPs, and the weights of attention.
    token = size * (6 * width + 4 * joined + (2 * gates + 2) * hidden)
    weights = heads * (4 + size)
    encoder = inputs * (token + shape.inputs * weights)
    decoder = targets * (
      token
      + size * (3 * width + 2 * joined)
      + (shape.inputs + shape.targets) * weights
    )
    decoder += inputs * size * 2 * joined
  elif config.remat_policy == 'minimal':
    # The stream and the results of products with parameters, but for the last
    # of a layer, which is not needed.
    encoder = inputs * (2 * width // cut + 3 * joined + gates * hidden)
    decoder = targets * (3 * width + 4 * joined + gates * hidden)
    decoder += inputs * 2 * joined
    encoder, decoder = encoder * size, decoder * size
  else:
    encoder, decoder = inputs * width // cut * size, targets * width * size
  saved = (
    config.num_encoder_layers * encoder + config.num_decoder_layers * decoder
  )

  # One layer backward: the weights of attention (logits, softmax, and their
  # gradients) or the MLP, in float32; and the gathered layer.
  attention = 4 * rows * heads * shape.inputs**2 * 4
  mlp = 4 * inputs * hidden * 4
  layer = (
    (4 * config.num_heads * config.head_dim + (gates + 1) * config.mlp_dim)
    * width
    // parts
  )
  gathered = layer * (2 * size + 4) if fsdp else layer * size
  # The head: logits, their softmax and gradient, in float32; and its table.
  head = 3 * targets * vocabulary * 4
  head += 3 * vocabulary * width * 4 if fsdp else 0
  return max(max(attention, mlp) + gathered, head), saved


def smallest_mesh(model, variables, gib: float, shape: Shape):
  """Returns (leaf, data, parts, memory) of the fewest devices that suffice."""
  num_devices = 1
  while num_devices <= shape.rows:
    for leaf in LEAVES:
      for parts in (4, 8) if leaf == 'fsdp_tensor' else (1,):
        data = num_devices // parts
        if not data or model.module.config.num_heads % parts:
          continue
        if leaf == 'fsdp' and num_devices == 1:
          continue
        if model.module.config.emb_dim % data and leaf != 'data':
          continue
        rules = read_rules(leaf)
        memory = predict(model, variables, rules, data, parts, shape)
        if memory.total <= USABLE * gib * GIB:
          return leaf, data, parts, memory
    num_devices *= 2
  return None


def print_table(shape: Shape) -> None:
  """Prints the smallest meshes, as Markdown."""
  print(
    f'| model | {" | ".join(f"{k}, {g} GiB" for k, g in DEVICES.items())} |'
  )
  print('|---' * (len(DEVICES) + 1) + '|')
  for size in SIZES:
    model, cells = make_model(size), []
    variables = parameters_of(model)
    for gib in DEVICES.values():
      found = smallest_mesh(model, variables, gib, shape)
      if found is None:
        cells.append('-')
        continue
      leaf, data, parts, memory = found
      cells.append(f'{data} x {parts} {leaf}, {memory.total / GIB:.1f}')
    print(f'| {size} | {" | ".join(cells)} |', flush=True)


def compile_step(model, rules: partitioning.AxisRules, mesh, shape: Shape):
  """Returns the compiled train step, from shapes alone."""
  sharding = partitioning.batch_sharding(mesh, rules)
  batch = {
    name: jax.ShapeDtypeStruct(
      (shape.rows, length), jnp.int32, sharding=sharding
    )
    for name, length in (
      ('encoder_input_tokens', shape.inputs),
      ('decoder_input_tokens', shape.targets),
      ('decoder_target_tokens', shape.targets),
      ('decoder_loss_weights', shape.targets),
    )
  }
  with partitioning.partitioned(mesh, rules):
    state = steps.abstract_state(model, mesh, rules)
    step = steps.make_train_step(model, mesh, state, seed=0)
    return step.lower(state, batch).compile()


def check(case: str, shape: Shape) -> dict:
  """Compiles SIZE:LEAF:DEVICES:MODEL_PARALLEL; returns both memories."""
  size, leaf, num_devices, parts = case.split(':')
  num_devices, parts = int(num_devices), int(parts)
  rules, model = read_rules(leaf), make_model(size, 'float32')
  mesh = partitioning.make_mesh(parts, jax.devices()[:num_devices])
  data = num_devices // parts
  variables = parameters_of(model)
  expected = predict(model, variables, rules, data, parts, shape)
  compiled = compile_step(model, rules, mesh, shape)
  analysis = compiled.memory_analysis()
  traffic = mesh_traffic.count(compiled.as_text())
  return {
    'case': case,
    'state': [expected.state, analysis.argument_size_in_bytes],
    'step': [expected.step, analysis.temp_size_in_bytes],
    'total': [
      expected.total,
      analysis.argument_size_in_bytes + analysis.temp_size_in_bytes,
    ],
    'parts': dataclasses.asdict(expected),
    'flops': traffic.flops,
    'sent': traffic.sent,
  }


def main():
  """Prints the table, or the checks."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--check', help='SIZE:LEAF:DEVICES:MODEL_PARALLEL,...')
  for field in dataclasses.fields(Shape):
    parser.add_argument(f'--{field.name}', type=int, default=field.default)
  arguments = parser.parse_args()
  shape = Shape(arguments.rows, arguments.inputs, arguments.targets)
  # Read when JAX first looks for devices.
  jax.config.update('jax_platforms', 'cpu')
  os.environ['XLA_FLAGS'] = ' '.join(XLA_FLAGS)
  if not arguments.check:
    print_table(shape)
    return
  for case in arguments.check.split(','):
    found = check(case, shape)
    print(f'{case}: GiB a device, predicted and compiled')
    for name in ('state', 'step', 'total'):
      mine, theirs = found[name]
      print(
        f'  {name:<6}{mine / GIB:8.2f}{theirs / GIB:8.2f}'
        f'  {mine / theirs - 1:+.0%}'
      )
    print(json.dumps(found), flush=True)


if __name__ == '__main__':
  main()
