"""Measures how fast texts are decoded, beside a loop without a cache.

  python tools/benchmarks/text_decode.py [--models tiny small]

At random weights, with eos forbidden so that each text has all its tokens:
greedy, drawn (temperature, top-k and nucleus at once), by beam search, and
greedy by a Python loop that runs the whole jitted model on the whole text for
each token. Prints medians, tokens of the returned texts a second, the ratio to
the loop, and how many greedy tokens agree (all in float32; in bfloat16 a cached
step rounds otherwise), and the same as one line of JSON.
"""

import argparse
import functools
import json
import platform

import jax
import numpy as np
from decoder_step import compare, make_model

from genrec_jax.decoding.sampling import (
  Sampling,
  make_generate_fn,
  request_keys,
)
from genrec_jax.decoding.text_beam import make_text_beam_fn
from genrec_jax.decoding.texts import AllowedTokens
from genrec_jax.types import EOS_ID, PAD_ID

NAIVE = 'greedy, no cache'


def without_cache(model, allowed, length):
  """Returns greedy decoding that runs all of the model for each token."""

  @jax.jit
  def next_token(params, inputs, tokens, place):
    batch = {
      'encoder_input_tokens': inputs,
      'decoder_input_tokens': jax.numpy.pad(tokens, ((0, 0), (1, 0)))[:, :-1],
      'decoder_target_tokens': tokens,
    }
    logits = model.logits(params, batch)[:, place]
    best = jax.numpy.where(allowed[None], logits, -jax.numpy.inf).argmax(-1)
    return tokens.at[:, place].set(best.astype(tokens.dtype))

  def decode(params, inputs):
    tokens = jax.numpy.full((len(inputs), length), PAD_ID, jax.numpy.int32)
    for place in range(length):
      tokens = next_token(params, inputs, tokens, place)
    return tokens

  return decode


def functions_of(model, vocab_size, length, num_beams, batch_size):
  """Returns what is compared: functions of parameters and inputs."""
  allowed = np.ones(vocab_size, bool)
  allowed[[PAD_ID, EOS_ID]] = False
  grammar = AllowedTokens(allowed)
  generate = make_generate_fn(model, length=length)
  search = make_text_beam_fn(model, length=length, num_beams=num_beams)
  keys = request_keys(jax.random.key(0), np.arange(batch_size))
  drawing = Sampling(temperature=0.8, top_k=50, top_p=0.9)

  def greedy(params, inputs, **options):
    batch = {'encoder_input_tokens': inputs}
    found = generate(params, batch, grammar=grammar, **options)
    return found.tokens[:, 0]

  def beams(params, inputs):
    batch = {'encoder_input_tokens': inputs}
    return search(params, batch, grammar=grammar).tokens[:, 0]

  return {
    NAIVE: without_cache(model, allowed, length),
    'greedy': greedy,
    'drawn': functools.partial(greedy, keys=keys, sampling=drawing),
    f'{num_beams} beams': beams,
  }


def main():
  """Measures all and prints what came out."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--models', nargs='+', default=['tiny', 'small'])
  parser.add_argument('--vocab_size', type=int, default=33280)
  parser.add_argument('--batch_size', type=int, default=8)
  parser.add_argument('--length', type=int, default=32, help='of a text')
  parser.add_argument('--input_length', type=int, default=64)
  parser.add_argument('--num_beams', type=int, default=4)
  parser.add_argument('--repeats', type=int, default=3)
  arguments = parser.parse_args()

  results = []
  print(f'{"model":<8}{"case":<20}{"ms":>10}{"tokens/s":>10}{"ratio":>8}')
  for name in arguments.models:
    model = make_model(name, arguments.vocab_size)
    shape = {'encoder_input_tokens': (1, 4), 'decoder_input_tokens': (1, 4)}
    params = jax.jit(
      functools.partial(model.get_initial_variables, input_shapes=shape)
    )(jax.random.key(0))['params']
    inputs = np.random.default_rng(0).integers(
      3,
      arguments.vocab_size,
      (arguments.batch_size, arguments.input_length),
      np.int32,
    )
    functions = functions_of(
      model,
      arguments.vocab_size,
      arguments.length,
      arguments.num_beams,
      arguments.batch_size,
    )
    same = functions[NAIVE](params, inputs) == functions['greedy'](
      params, inputs
    )
    times = compare(functions, params, inputs, repeats=arguments.repeats)
    for case, value in times.items():
      results.append(
        dict(
          model=name,
          case=case,
          milliseconds=round(value, 2),
          tokens_per_second=round(
            1e3 * inputs.shape[0] * arguments.length / value
          ),
          ratio=round(times[NAIVE] / value, 2),
        )
      )
      print(
        f'{name:<8}{case:<20}{value:>10.1f}'
        f'{results[-1]["tokens_per_second"]:>10}{results[-1]["ratio"]:>8.2f}',
        flush=True,
      )
    print(f'{name}: {float(same.mean()):.1%} of the greedy tokens are the same')
  facts = {
    'machine': platform.processor() or platform.machine(),
    'device': jax.devices()[0].device_kind,
    'jax': jax.__version__,
    **vars(arguments),
    'results': results,
  }
  print(json.dumps(facts))


if __name__ == '__main__':
  main()
