"""The whole recommender as one program: `recommend.jaxexport`.

Encoder, search over the trie and filters are one function, lowered to
StableHLO by `jax.export` with the parameters and the catalogue as constants
inside. JAX alone loads and calls it, for any number of rows and any length.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from genrec_jax import artifacts
from genrec_jax.answering.run import Run
from genrec_jax.data.token_cache import TokenExamples
from genrec_jax.decoding.beam_search import MOST_TAIL_LOGITS, beam_search
from genrec_jax.decoding.constraints import make_views
from genrec_jax.decoding.recommend import seen_items
from genrec_jax.types import GenrecError

KIND = 'recommend_program'
FILE = 'recommend.jaxexport'
PLATFORMS = ('cpu', 'cuda', 'tpu')
MAX_BATCH = 4096
# From this batch on, known ends of items are not worth a limit; see
# `_batch_limit`.
_ENOUGH = 256
_MOST_BYTES = 2**31  # of a serialized program: it is a flatbuffer


def write_program(
  directory: pathlib.Path,
  run: Run,
  *,
  num_beams: int,
  normalization: str = 'vocabulary',
  allowed_items: bool = False,
  platforms: Sequence[str] = PLATFORMS,
  examples: TokenExamples | None = None,
  **facts: Any,
) -> None:
  """Writes the program, and `manifest.json` that says how to call it.

  Args:
    directory: where to; it exists.
    run: the model and the catalogue.
    num_beams: the length of the lists, and the width of the search, K.
    normalization: what a score is.
    allowed_items: whether it takes a mask of the items that may be listed.
    platforms: what it is lowered for; none of them need be here.
    examples: the manifest gets inputs of these and what comes of them, so
      that one can see whether a program does elsewhere what it does here.
    **facts: what else the manifest says; JSON values.

  Raises:
    GenrecError: if the program is too large for its format.
  """
  num_items = len(run.cache.item_tokens)
  # Off the mesh: constants of a program lie on no device.
  params, trie = jax.tree.map(
    jnp.asarray, jax.device_get((run.params, run.trie))
  )
  num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves((params, trie)))
  if num_bytes >= _MOST_BYTES:
    raise GenrecError(
      f'Parameters and catalogue take {num_bytes:,} bytes, and a program holds'
      f' fewer than {_MOST_BYTES:,}; choose a smaller model, or export'
      ' --format=hugging_face or t5x.'
    )
  limit, force_tails = _batch_limit(run.trie, num_beams)

  def recommend(
    tokens: Int32[Array, 'b s'],
    exclude: Int32[Array, 'b x'],
    allowed: Bool[Array, 'items'] | None = None,
  ) -> dict[str, Array]:
    filters = {'exclude': exclude}
    if allowed is not None:
      filters['views'] = make_views(trie, allowed[None])
      filters['view'] = jnp.zeros(tokens.shape[0], jnp.int32)
    tokens_to_logits, cache = run.model.start_decoding(
      params, {'encoder_input_tokens': tokens}
    )
    found = beam_search(
      trie,
      tokens_to_logits,
      cache,
      tokens.shape[0],
      num_beams,
      normalization=normalization,
      force_tails=force_tails,
      **filters,
    )
    return {
      'items': found.items,
      'scores': found.scores,
      'tokens': found.tokens,
    }

  b, s, x = jax.export.symbolic_shape('b, s, x', constraints=[f'b <= {limit}'])
  arguments = {
    'tokens': jax.ShapeDtypeStruct((b, s), jnp.int32),
    'exclude': jax.ShapeDtypeStruct((b, x), jnp.int32),
  }
  if allowed_items:
    arguments['allowed'] = jax.ShapeDtypeStruct((num_items,), jnp.bool_)
  program = jax.jit(recommend)
  exported = jax.export.export(program, platforms=platforms)(
    *arguments.values()
  )
  (directory / FILE).write_bytes(exported.serialize())
  results = exported.out_tree.unflatten(exported.out_avals)
  artifacts.write_manifest(
    directory,
    kind=KIND,
    fingerprint=artifacts.file_sha256(directory / FILE),
    inputs={'vocabulary': run.cache.vocabulary_fingerprint},
    file=FILE,
    platforms=list(exported.platforms),
    made_with={'jax': jax.__version__},
    arguments=_describe(arguments),
    results=_describe(results),
    max_batch=limit,
    num_items=num_items,
    num_beams=num_beams,
    normalization=normalization,
    checkpoint=run.step,
    **facts,
    check=examples and _check(program, examples, num_items, allowed_items),
  )


def _batch_limit(trie, num_beams: int) -> tuple[int, bool]:
  """Returns the most rows, and whether known ends are scored in one call.

  The search does that where it fits into memory, and has to know when it is
  lowered; where it would fit for small batches alone, it is not done.
  """
  if trie.tail_depth is None:
    return MAX_BATCH, True
  length = trie.num_levels - trie.tail_depth
  fitting = MOST_TAIL_LOGITS // (num_beams * length * trie.vocab_size)
  if fitting < _ENOUGH:
    return MAX_BATCH, False
  return min(MAX_BATCH, fitting), True


_MEANINGS = {
  'tokens': 'of the prompts, 0 behind their end',
  'exclude': 'items that a row must not get, -1 for none',
  'allowed': 'whether an item may be listed at all',
  'items': 'the best first: lines of items.jsonl, from 0; -1 for none',
  'scores': 'log-probabilities; -inf where there is no item',
}


def _describe(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """Returns shapes with names of dimensions: b rows, s tokens, x items."""
  described = {
    name: {
      'shape': [n if isinstance(n, int) else str(n) for n in array.shape],
      'dtype': str(array.dtype),
    }
    for name, array in arrays.items()
  }
  for name, facts in described.items():
    # Tokens that come out are those of the items.
    is_result = name == 'tokens' and 'scores' in arrays
    meaning = 'of the items' if is_result else _MEANINGS[name]
    facts['meaning'] = meaning
  return described


def _check(
  program: Callable[..., Mapping[str, Array]],
  examples: TokenExamples,
  num_items: int,
  allowed_items: bool,
) -> dict[str, Any]:
  """Returns inputs of two examples, and what comes of them here."""
  rows = np.arange(min(2, len(examples)))
  tokens = examples.inputs.padded(
    rows, int(examples.inputs.lengths[rows].max())
  )
  exclude = seen_items(examples.history, rows)
  allowed = [np.ones(num_items, bool)] * allowed_items
  found = program(tokens, exclude, *allowed)
  items, scores = np.asarray(found['items']), np.asarray(found['scores'])
  return {
    'tokens': tokens.tolist(),
    'exclude': exclude.tolist(),
    'items': items.tolist(),
    # JSON has no infinity: None where there is no item.
    'scores': np.where(items < 0, None, scores.astype(object)).tolist(),
  }
