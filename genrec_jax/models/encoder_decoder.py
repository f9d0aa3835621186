"""The model class: what a trainer, an evaluator and a decoder drive.

It has the attributes and methods that T5X asks of its models, and imports
nothing of T5X: `t5x.train` and the trainer here call the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import clu.metrics
import flax.core
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genrec_jax.models import losses
from genrec_jax.types import EOS_ID, PAD_ID, GenrecError

Batch = Mapping[str, Array]
PyTree = Any
# (tokens [R, T], cache of R rows, block or None) -> (logits [R, T, V], cache).
TokensToLogits = Callable[[Array, PyTree, range | None], tuple[Array, PyTree]]

_PACKING = (
  'encoder_segment_ids',
  'decoder_segment_ids',
  'encoder_positions',
  'decoder_positions',
)


class EncoderDecoder:
  """An encoder-decoder module with its loss, scores and predictions.

  Args:
    module: a `Transformer`, or any module with its call signatures.
    input_vocabulary: SeqIO vocabulary of the inputs, for T5X.
    output_vocabulary: SeqIO vocabulary of the targets, for T5X.
    optimizer_def: optimizer, for T5X (optax in an OptaxWrapper).
    decode_fn: what `predict_batch` searches with: T5X's contract, see
      decoding/beam_search.py.
    label_smoothing: probability that the targets give to other tokens.
    z_loss: factor of the square of log Z, which keeps logits from drifting.
    loss_normalizing_factor: what the sum over tokens is divided by; T5X's
      values, see `losses.weights_and_normalizer`. The mean over target tokens
      by default, where T5X's default is None, the sum.
    num_decodes: beams of `predict_batch`.
    return_all_decodes: whether `predict_batch` gives all beams or the best.
  """

  def __init__(
    self,
    module: nn.Module,
    *,
    input_vocabulary: Any = None,
    output_vocabulary: Any = None,
    optimizer_def: Any = None,
    decode_fn: Callable[..., tuple[Array, Array]] | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    loss_normalizing_factor: float | str | None = 'NUM_REAL_TARGET_TOKENS',
    num_decodes: int = 1,
    return_all_decodes: bool = False,
  ):
    self.module = module
    self.input_vocabulary = input_vocabulary
    self.output_vocabulary = output_vocabulary
    self.optimizer_def = optimizer_def
    self.decode_fn = decode_fn
    self.label_smoothing = label_smoothing
    self.z_loss = z_loss
    self.loss_normalizing_factor = loss_normalizing_factor
    self.num_decodes = num_decodes
    self.return_all_decodes = return_all_decodes

  @property
  def FEATURE_CONVERTER_CLS(self):
    """SeqIO's converter of examples into the features of a batch."""
    import seqio  # Late: it takes seconds, and only T5X and SeqIO need it.

    return seqio.EncDecFeatureConverter

  def get_initial_variables(
    self,
    rng: Array,
    input_shapes: Mapping[str, tuple[int, ...]],
    input_types: Mapping[str, Any] | None = None,
  ) -> flax.core.FrozenDict:
    """Returns `params` and their logical axis names, `params_axes`."""
    del input_types  # All features are integers.
    encoder_tokens = jnp.ones(input_shapes['encoder_input_tokens'], jnp.int32)
    decoder_tokens = jnp.ones(input_shapes['decoder_input_tokens'], jnp.int32)
    return flax.core.freeze(
      self.module.init(
        rng,
        encoder_tokens,
        decoder_tokens,
        decoder_tokens,
        enable_dropout=False,
      )
    )

  def logits(
    self, params: PyTree, batch: Batch, dropout_rng: Array | None = None
  ) -> Float[Array, 'B T V']:
    """Returns the logits of the targets; without `dropout_rng`, no dropout."""
    return self.module.apply(
      {'params': params},
      batch['encoder_input_tokens'],
      batch['decoder_input_tokens'],
      batch['decoder_target_tokens'],
      **{name: batch.get(name) for name in _PACKING},
      enable_dropout=dropout_rng is not None,
      rngs=None if dropout_rng is None else {'dropout': dropout_rng},
    )

  def loss_fn(
    self, params: PyTree, batch: Batch, dropout_rng: Array | None
  ) -> tuple[Float[Array, ''], dict[str, clu.metrics.Metric]]:
    """Returns the loss of a batch and its metrics.

    Metrics are averages over target tokens, to be merged over batches: `loss`
    (what is trained, before its normalisation), `accuracy`, and `z_loss` if
    there is one.
    """
    logits = self.logits(params, batch, dropout_rng)
    weights, normalizer = losses.weights_and_normalizer(
      batch, self.loss_normalizing_factor
    )
    log_probabilities, log_z, wins = losses.target_log_probabilities(
      logits, batch['decoder_target_tokens']
    )
    token_losses = losses.smoothed_cross_entropy(
      logits, log_probabilities, log_z, self.label_smoothing
    )
    per_token = {'accuracy': wins}
    if self.z_loss:
      per_token['z_loss'] = self.z_loss * jnp.square(log_z)
      token_losses = token_losses + per_token['z_loss']
    per_token['loss'] = token_losses
    metrics = {
      name: clu.metrics.Average(
        total=jnp.sum(value * weights), count=jnp.sum(weights)
      )
      for name, value in per_token.items()
    }
    return metrics['loss'].total / normalizer, metrics

  def eval_fn(
    self, params: PyTree, batch: Batch
  ) -> tuple[Float[Array, ''], dict[str, clu.metrics.Metric]]:
    """Returns the loss and metrics without dropout."""
    return self.loss_fn(params, batch, None)

  def score_batch(
    self, params: PyTree, batch: Batch, return_intermediates: bool = False
  ) -> Float[Array, 'B'] | tuple[Float[Array, 'B'], dict]:
    """Returns the log-probability of each row's targets.

    With `return_intermediates` also T5X's tree of tokens, weights and scores
    under 'decoder', each in a tuple.
    """
    targets = batch['decoder_target_tokens']
    weights = batch['decoder_loss_weights']
    log_probabilities, _, _ = losses.target_log_probabilities(
      self.logits(params, batch), targets
    )
    token_scores = log_probabilities * weights
    scores = jnp.sum(token_scores, axis=-1)
    if not return_intermediates:
      return scores
    return scores, {
      'decoder': {
        'target_tokens': (targets,),
        'loss_weights': (weights,),
        'token_scores': (token_scores,),
      }
    }

  def encode_blocks(
    self, params: PyTree, tokens: Int[Array, 'B S']
  ) -> Float[Array, 'B S D']:
    """Returns what the encoder's layers that see blocks alone give.

    Raises:
      GenrecError: if it has none.
    """
    return self.module.apply(
      {'params': params},
      tokens,
      enable_dropout=False,
      only_blocks=True,
      method=self.module.encode,
    )

  def start_decoding(
    self, params: PyTree, batch: Batch, *, length: int | None = None
  ) -> tuple[TokensToLogits, PyTree]:
    """Encodes a batch and returns the step function of its decoder.

    Args:
      params: parameters.
      batch: features; only `encoder_input_tokens` [B, S] is used, and
        `block_states` [B, S, D] if there are some (`encode_blocks`).
      length: room of a cache of fixed shape, for a search that loops by
        `lax.while_loop` or `lax.scan` and feeds one token a step. By default
        the cache grows by the tokens of each step, so that no step attends
        to, and no reorder moves, room that is still empty.

    Returns:
      tokens_to_logits: takes the next tokens [R, T], the cache and a range of
        tokens or None; returns float32 logits [R, T, V] of the token after
        each, those of the range alone if there is one, and the new cache.
        The T tokens see what the cache holds and those before them. R is a
        multiple K of B; the K rows of an input lie side by side. The encoder
        output and its keys and values are shared by them, not tiled.
      cache: of B rows, every leaf with rows leading: the caller expands and
        reorders it by `leaf[rows]`.
    """
    encoder_tokens = batch['encoder_input_tokens']
    encoded = self.module.apply(
      {'params': params},
      encoder_tokens,
      enable_dropout=False,
      method=self.module.encode,
      **{name: batch[name] for name in ('block_states',) if name in batch},
    )
    no_tokens = jnp.full((encoder_tokens.shape[0], length or 0), PAD_ID)

    def decode(variables, tokens, mutable, block=None):
      return self.module.apply(
        {'params': params, **variables},
        encoded,
        encoder_tokens,
        tokens,
        tokens,
        enable_dropout=False,
        decode=True,
        block=block,
        mutable=mutable,
        method=self.module.decode,
      )

    # The logits of this call are not used, so they are not computed.
    _, state = decode({}, no_tokens, ['cache', 'cross_attention'])
    shared = {'cross_attention': state['cross_attention']}

    def tokens_to_logits(
      tokens: Int[Array, 'R T'], cache: PyTree, block: range | None = None
    ):
      logits, state = decode(
        {'cache': cache, **shared}, tokens, ['cache'], block
      )
      return logits, state['cache']

    return tokens_to_logits, state['cache']

  def predict_batch(
    self, params: PyTree, batch: Batch, rng: Array | None = None
  ) -> Int[Array, '...']:
    """Returns the decoded tokens of `predict_batch_with_aux`."""
    return self.predict_batch_with_aux(params, batch, rng)[0]

  def predict_batch_with_aux(
    self, params: PyTree, batch: Batch, rng: Array | None = None
  ) -> tuple[Int[Array, '...'], dict[str, Array]]:
    """Decodes a batch with `decode_fn`.

    Args:
      params: parameters.
      batch: features; the length of `decoder_input_tokens` bounds the output.
      rng: for a `decode_fn` that samples.

    Returns:
      Tokens [B, K, L] and {'scores': [B, K]} in ascending order, the best
      last, if `return_all_decodes`; else the best's tokens [B, L] and its
      score [B].
    """
    if self.decode_fn is None:
      raise GenrecError(
        'This EncoderDecoder has no decode_fn, so it cannot predict; pass one'
        ' (decoding.beam_search.make_decode_fn) as EncoderDecoder.decode_fn.'
      )
    inputs = jnp.full_like(batch['decoder_input_tokens'], PAD_ID)
    # T5X's own searches loop over a state of one shape.
    step, cache = self.start_decoding(params, batch, length=inputs.shape[1])

    def tokens_to_logits(state):
      logits, cache = step(state.cur_token, state.cache)
      return logits[:, 0], cache

    decodes, scores = self.decode_fn(
      inputs=inputs,
      cache=cache,
      tokens_to_logits=tokens_to_logits,
      eos_id=getattr(self.output_vocabulary, 'eos_id', EOS_ID),
      num_decodes=self.num_decodes,
      cache_offset=0,
      decode_rng=rng,
    )
    if self.return_all_decodes:
      return decodes, {'scores': scores}
    return decodes[:, -1], {'scores': scores[:, -1]}
