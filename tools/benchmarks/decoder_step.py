"""Measures what the shapes of decoder steps cost: the model alone, no search.

  python tools/benchmarks/decoder_step.py [--model=tiger] [--num_beams=50]

Times, at random weights, the L steps of decoding an item, by batch size and
vocabulary: (a) a cache of fixed length against one that grows, (b) the whole
head against the block of a level, (c) a known tail fed in one call against a
step a token. Beams change places after each step, as in a search. Prints a
table of medians in milliseconds, and the same as one line of JSON.
"""

import argparse
import functools
import json
import operator
import pathlib
import platform
import statistics
import time

import gin
import jax
import jax.numpy as jnp
import numpy as np

GIN_FILES = pathlib.Path(__file__).resolve().parents[2] / 'gin'


def make_model(name: str, vocab_size: int):
  """Returns the model of gin/models/NAME.gin."""
  gin.clear_config()
  gin.parse_config_files_and_bindings(
    [str(GIN_FILES / 'models' / f'{name}.gin')], [f'VOCAB_SIZE = {vocab_size}']
  )
  return gin.query_parameter('%MODEL').scoped_configurable_fn()


def steps(params, inputs, *, model, num_beams, lengths, fixed, block):
  """Feeds tokens by calls of these lengths, the first with one beam."""
  batch_size = len(inputs)
  step, cache = model.start_decoding(
    params,
    {'encoder_input_tokens': inputs},
    length=sum(lengths) if fixed else None,
  )
  total = 0.0
  rows = jnp.repeat(jnp.arange(batch_size), num_beams)
  token = jnp.zeros((batch_size, 1), jnp.int32)
  for length in lengths:
    tokens = jnp.tile(token, (1, length))
    logits, cache = step(tokens, cache, block)
    # A normaliser and a choice, so that every logit is needed; the next beams
    # depend on them, so that steps cannot overlap.
    last = jax.nn.logsumexp(logits, axis=-1)
    total += last.sum()
    shift = (last[0, 0] > 1e9).astype(jnp.int32)
    cache = jax.tree.map(operator.itemgetter(rows + shift), cache)
    token = jnp.full((batch_size * num_beams, 1), 7, jnp.int32) + shift
    rows = jnp.arange(batch_size * num_beams)
    rows = rows.reshape(batch_size, -1)[:, ::-1].reshape(-1)
  return total


def compare(functions, *arguments, repeats: int) -> dict[str, float]:
  """Returns median milliseconds of functions that take turns."""
  for function in functions.values():
    function(*arguments).block_until_ready()
  times = {name: [] for name in functions}
  for _ in range(repeats):
    for name, function in functions.items():
      start = time.perf_counter()
      function(*arguments).block_until_ready()
      times[name].append(1e3 * (time.perf_counter() - start))
  return {name: statistics.median(values) for name, values in times.items()}


def main():
  """Measures all and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--model', default='tiger', help='a file of gin/models')
  parser.add_argument('--num_beams', type=int, default=50)
  parser.add_argument('--batch_sizes', type=int, nargs='+', default=[1, 32])
  parser.add_argument(
    '--vocab_sizes', type=int, nargs='+', default=[1280, 33280]
  )
  parser.add_argument('--num_levels', type=int, default=4)
  parser.add_argument('--tail', type=int, default=5, help='known tokens')
  parser.add_argument('--input_length', type=int, default=64)
  parser.add_argument('--block_size', type=int, default=256)
  parser.add_argument('--repeats', type=int, default=5)
  arguments = parser.parse_args()

  results = []
  print(f'{"vocabulary":>10}{"batch":>6}  {"case":<24}{"ms":>9}{"ratio":>7}')
  for vocab_size in arguments.vocab_sizes:
    model = make_model(arguments.model, vocab_size)
    shape = {'encoder_input_tokens': (1, 4), 'decoder_input_tokens': (1, 4)}
    params = jax.jit(
      functools.partial(model.get_initial_variables, input_shapes=shape)
    )(jax.random.key(0))['params']
    each = (1,) * arguments.num_levels
    tail = arguments.tail
    block = range(vocab_size - arguments.block_size, vocab_size)
    cases = {
      'fixed, whole head': dict(lengths=each, fixed=True, block=None),
      'growing, whole head': dict(lengths=each, fixed=False, block=None),
      'growing, block': dict(lengths=each, fixed=False, block=block),
      f'1 + {tail} steps, block': dict(
        lengths=(1,) * (1 + tail), fixed=False, block=block
      ),
      f'1 + {tail} at once, block': dict(
        lengths=(1, tail), fixed=False, block=block
      ),
    }
    functions = {
      name: jax.jit(
        functools.partial(
          steps, model=model, num_beams=arguments.num_beams, **case
        )
      )
      for name, case in cases.items()
    }
    for batch_size in arguments.batch_sizes:
      inputs = np.random.default_rng(0).integers(
        3, vocab_size, (batch_size, arguments.input_length), np.int32
      )
      times = compare(functions, params, inputs, repeats=arguments.repeats)
      # A tail is compared with its steps, everything else with the first.
      for name, value in times.items():
        base = next(
          times[other]
          for other in times
          if other.startswith(name[:3]) or not name.startswith('1 +')
        )
        print(
          f'{vocab_size:>10}{batch_size:>6}  {name:<24}{value:>9.2f}'
          f'{base / value:>7.2f}'
        )
        results.append(
          dict(
            vocab_size=vocab_size,
            batch_size=batch_size,
            case=name,
            milliseconds=round(value, 3),
            ratio=round(base / value, 3),
          )
        )
  facts = {
    'machine': platform.processor() or platform.machine(),
    'device': jax.devices()[0].device_kind,
    'jax': jax.__version__,
    **{name: value for name, value in vars(arguments).items()},
    'results': results,
  }
  print(json.dumps(facts))


if __name__ == '__main__':
  main()
