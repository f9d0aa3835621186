"""SASRec: what comes next, by causal self-attention over the history."""

from __future__ import annotations

import collections
import functools
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int32

from genrec_jax import progress
from genrec_jax.baselines import sasrec_network
from genrec_jax.baselines.protocol import (
  SCORES_AT_A_TIME,
  rank_by_popularity,
)
from genrec_jax.data.token_cache import Ragged
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError, PathLike

# Histories scored in one call; they are as wide as the smallest that holds
# them of SMALLEST_WIDTH, twice that and so on, up to max_length.
BLOCK = 32
SMALLEST_WIDTH = 8
# Arguments that are at least 1, or None where that means something.
COUNTS = (
  'width',
  'num_layers',
  'num_heads',
  'mlp_width',
  'max_length',
  'num_negatives',
  'num_rows',
  'num_averaged',
  'num_epochs',
  'max_epochs',
  'patience',
  'num_validation',
)


class SASRec:
  """A transformer decoder over items, scored by their own vectors.

  Kang and McAuley, "Self-attentive sequential recommendation", 2018, with the
  softmax loss in place of the binary one: over all items, or over negatives
  drawn uniformly, which is what makes it strong (Klenitskiy and Vasilev,
  "Turning dross into gold loss", 2023). Trained on one device.

  How many epochs to train is found on users of train: a first training leaves
  out the last item of some, and stops where it is no longer recommended
  better; a second one has all items and as many epochs as were best.

  A history without an item scores 0 everywhere: by popularity.

  Args:
    width: of an item's vector.
    num_layers: blocks of attention and perceptron.
    num_heads: of attention.
    mlp_width: of the perceptron's hidden layer.
    dropout: share of values to drop in training.
    max_length: items of a history that count, the last ones.
    num_negatives: drawn for each step, for all its places; None, or as many as
      there are items, for the softmax over all.
    log_q: see `sasrec_network.sampled_cross_entropy`.
    learning_rate: of AdamW.
    weight_decay: of AdamW.
    num_rows: rows of `max_length` places in a step, filled with sequences.
    num_averaged: epochs, the last ones, whose parameters are averaged (Izmailov
      et al. 2018); 1 for none.
    num_epochs: None to find it.
    max_epochs: where to stop looking for it.
    patience: epochs without a better NDCG@10 after which to stop looking.
    num_validation: users whose last train item is left out meanwhile.
    ids: a directory of `ItemIds`: an item's vector is then the sum of those of
      its codes; None for a vector of its own.
    seed: of parameters, batches, dropout, negatives, and of equal scores.

  Attributes:
    network: the module, after `fit`.
    params: of the network.
    best_num_epochs: how many epochs they were trained.
    validation: NDCG@10 after each epoch of the first training, if any.
  """

  name = 'sasrec'
  modules = (sasrec_network,)
  grid: ClassVar = {'dropout': (0.3, 0.5)}

  def __init__(
    self,
    *,
    width: int = 64,
    num_layers: int = 2,
    num_heads: int = 2,
    mlp_width: int = 64,
    dropout: float = 0.5,
    max_length: int = 50,
    num_negatives: int | None = 1024,
    log_q: bool = True,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.0,
    num_rows: int = 16,
    num_averaged: int = 5,
    num_epochs: int | None = None,
    max_epochs: int = 200,
    patience: int = 10,
    num_validation: int = 2000,
    ids: PathLike | None = None,
    seed: int = 0,
  ):
    self.width = width
    self.num_layers = num_layers
    self.num_heads = num_heads
    self.mlp_width = mlp_width
    self.dropout = dropout
    self.max_length = max_length
    self.num_negatives = num_negatives
    self.log_q = log_q
    self.learning_rate = learning_rate
    self.weight_decay = weight_decay
    self.num_rows = num_rows
    self.num_averaged = num_averaged
    self.num_epochs = num_epochs
    self.max_epochs = max_epochs
    self.patience = patience
    self.num_validation = num_validation
    self.ids = ids
    self.seed = seed
    for argument in COUNTS:
      value = getattr(self, argument)
      if value is not None and value < 1:
        raise GenrecError(f'Got {argument}={value}, expected at least 1.')
    if width % num_heads:
      raise GenrecError(
        f'num_heads={num_heads} does not divide width={width}; choose another.'
      )
    if not 0 <= dropout < 1 or learning_rate <= 0 or weight_decay < 0:
      raise GenrecError(
        f'Got dropout={dropout}, learning_rate={learning_rate} and'
        f' weight_decay={weight_decay}; expected from 0 to below 1, above 0,'
        ' and at least 0.'
      )

  def fit(
    self,
    user: Int[np.ndarray, 'R'],
    item: Int[np.ndarray, 'R'],
    num_items: int,
  ) -> Self:
    """Trains, twice if the number of epochs is to be found.

    Raises:
      GenrecError: if no user has the two items of an example; if none can
        spare one for the number of epochs; or if the loss is not finite.
    """
    self.item_rank = rank_by_popularity(item, num_items, seed=self.seed)
    item = np.asarray(item, np.int32)[np.argsort(user, kind='stable')]
    counts = np.bincount(user)
    sequences = Ragged(item, np.concatenate([[0], np.cumsum(counts)]))
    if counts.max(initial=0) < 2:
      raise GenrecError(
        'No user has two train interactions, so nothing follows anything;'
        f' leave out the baseline {self.name!r}.'
      )
    self.network = sasrec_network.Network(
      num_items=num_items,
      max_length=self.max_length,
      width=self.width,
      num_layers=self.num_layers,
      num_heads=self.num_heads,
      mlp_width=self.mlp_width,
      dropout=self.dropout,
      codes=self._codes(num_items),
    )
    self.validation = []
    self.best_num_epochs = self.num_epochs
    if self.num_epochs is None:
      self.best_num_epochs = self._find_num_epochs(sequences)
    epochs = self._train(sequences, self.best_num_epochs, 'SASRec')
    for self.params in epochs:
      pass
    return self

  def scores(
    self, histories: Int32[np.ndarray, 'B T']
  ) -> Float[np.ndarray, 'B N']:
    """Returns the inner products of the last state with the items."""
    histories = histories[:, -self.max_length :]
    length = (histories >= 0).sum(axis=1)
    scores = np.zeros((len(histories), self.network.num_items), np.float32)
    before, width = 0, min(SMALLEST_WIDTH, self.max_length)
    while before < histories.shape[1]:
      rows = np.flatnonzero((before < length) & (length <= width))
      for start in range(0, len(rows), BLOCK):
        chosen = rows[start : start + BLOCK]
        items = np.zeros((BLOCK, width), np.int32)
        last = np.zeros(BLOCK, np.int32)
        last[: len(chosen)] = length[chosen] - 1
        # From padded on the left to padded on the right.
        example, place = np.nonzero(histories[chosen] >= 0)
        shift = histories.shape[1] - length[chosen][example]
        items[example, place - shift] = histories[chosen][example, place]
        scores[chosen] = _score(self.network)(self.params, items, last)[
          : len(chosen)
        ]
      before, width = width, min(2 * width, self.max_length)
    return scores

  def _codes(self, num_items: int) -> sasrec_network.ItemCodes | None:
    if self.ids is None:
      return None
    ids = ItemIds.load(self.ids)
    if ids.num_items != num_items:
      raise GenrecError(
        f'{self.ids} has ids of {ids.num_items:,} items and the data set has'
        f' {num_items:,}; build ids from the data set at hand.'
      )
    first = np.cumsum((0, *ids.codebook_sizes[:-1]))
    return sasrec_network.ItemCodes(
      np.where(ids.codes >= 0, ids.codes + first, -1).astype(np.int32)
    )

  def _find_num_epochs(self, sequences: Ragged) -> int:
    """Returns how many epochs recommend the left out items best."""
    able = np.flatnonzero(sequences.lengths >= 3)
    if not len(able):
      raise GenrecError(
        'No user has three train interactions, so none can be left out to find'
        ' the number of epochs; set num_epochs.'
      )
    generator = np.random.default_rng(self.seed)
    count = min(self.num_validation, len(able))
    chosen = np.sort(generator.choice(able, count, replace=False))
    held = sequences.offsets[chosen + 1] - 1
    targets = sequences.values[held]
    lengths = sequences.lengths.copy()
    lengths[chosen] -= 1
    kept = Ragged(
      np.delete(sequences.values, held),
      np.concatenate([[0], np.cumsum(lengths)]),
    )
    width = self.max_length
    histories = np.full((count, width), -1, np.int32)
    for row, sequence in enumerate(chosen):
      items = kept[sequence][-width:]
      histories[row, width - len(items) :] = items
    best = 0
    epochs = self._train(kept, self.max_epochs, 'SASRec, number of epochs')
    for self.params in epochs:
      self.validation.append(self._ndcg(histories, targets))
      best = int(np.argmax(self.validation)) + 1
      if len(self.validation) - best >= self.patience:
        break
    return best

  def _ndcg(self, histories, targets):
    """Returns the mean NDCG@10, with the items of histories left out."""
    total = 0.0
    block = max(BLOCK, SCORES_AT_A_TIME // self.network.num_items)
    for start in range(0, len(histories), block):
      rows = slice(start, start + block)
      scores = self.scores(histories[rows])
      wanted = np.take_along_axis(scores, targets[rows, None], axis=1)
      example, place = np.nonzero(histories[rows] >= 0)
      scores[example, histories[rows][example, place]] = -np.inf
      rank = 1 + (scores > wanted).sum(axis=1)
      total += np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0).sum()
    return total / len(histories)

  def _train(self, sequences, num_epochs, name):
    """Yields the mean parameters of the last epochs, after each epoch."""
    recent = collections.deque(maxlen=self.num_averaged)
    epochs = sasrec_network.train(
      self.network,
      sequences,
      num_rows=self.num_rows,
      num_negatives=self.num_negatives,
      log_q=self.log_q,
      learning_rate=self.learning_rate,
      weight_decay=self.weight_decay,
      seed=self.seed,
    )
    for number in progress.bar(range(1, num_epochs + 1), name):
      params, loss = next(epochs)
      if not np.isfinite(loss):
        raise GenrecError(
          f'The loss of SASRec is {loss} in epoch {number}; lower'
          f' learning_rate={self.learning_rate}.'
        )
      recent.append(params)
      yield jax.tree.map(lambda *x: sum(x) / len(x), *recent)


class SASRecIds(SASRec):
  """SASRec whose items are known by the codes of a run's item ids alone.

  Items that share codes share what is learnt of them, as in the generative
  model of the same run: what differs is that one scores items and the other
  spells them. Takes `ids`, and else what `SASRec` takes.
  """

  name = 'sasrec_ids'
  artefact = 'ids'  # of the run; see methods.py


@functools.lru_cache(maxsize=16)  # the same network is compiled once
def _score(network):
  @jax.jit
  def score(params, items, last):
    positions = jnp.broadcast_to(jnp.arange(items.shape[1]), items.shape)
    states = network.apply(params, items, jnp.ones_like(items), positions)
    rows = jnp.arange(len(items))
    return states[rows, last] @ sasrec_network.item_vectors(network, params).T

  return score
