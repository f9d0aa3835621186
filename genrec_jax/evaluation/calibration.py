"""Whether a model's probabilities are what happens.

Where a model says 0.3 a hundred times, thirty should come true. The examples
are put into bins of as many each, by their probability, and in each what was
said stands beside what came of it (DeGroot, Fienberg, "The comparison and
evaluation of forecasters", The Statistician 1983).

  ECE    the mean over bins of |mean probability - share that came true|,
         weighted by their examples (Naeini, Cooper, Hauskrecht, "Obtaining well
         calibrated probabilities using Bayesian binning", AAAI 2015), in bins
         of equal mass (Nguyen, O'Connor, EMNLP 2015)
  Brier  mean((probability - outcome)²), and its parts (Murphy, "A new vector
         partition of the probability score", J. Appl. Meteor. 1973):
         reliability - resolution + uncertainty, and what bins hide
         (Stephenson, Coelho, Jolliffe, Weather and Forecasting 2008)

Few examples make bins that differ from what was said by chance alone. So beside
the ECE stands that of outcomes drawn by the probabilities themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from genrec_jax.types import GenrecError

NUM_BINS = 10
_DRAWS_AT_ONCE = 1 << 24


def measure_calibration(
  probabilities: Float[np.ndarray, 'E'],
  outcomes: Bool[np.ndarray, 'E'],
  *,
  num_bins: int = NUM_BINS,
  num_draws: int = 200,
  seed: int = 0,
) -> dict[str, Any]:
  """Returns how well calibrated probabilities are, in JSON values.

  Args:
    probabilities: that something is so, by example.
    outcomes: whether it is.
    num_bins: of as many examples each; equal probabilities share one, so that
      there may be fewer.
    num_draws: of outcomes that would be calibrated.
    seed: of these draws.

  Returns:
    `n`, the means of `probability` and `outcome`; `ece`, and `ece_by_chance`,
    the mean of that of outcomes drawn by the probabilities, with `p_value`, how
    often it is as high; `brier` = `reliability` - `resolution` + `uncertainty`
    + `within_bins`; and `curve`, by bin the two means and `n`.

  Raises:
    GenrecError: if there are not as many of each, or none, or one is no
      probability.
  """
  p, y = _check(probabilities, outcomes)
  place = bins_of_equal_mass(p, num_bins)
  sizes = np.bincount(place)
  said = np.bincount(place, p) / sizes
  came = np.bincount(place, y) / sizes
  ece = _error(said, came, sizes)
  rng = np.random.default_rng(seed)
  drawn = []
  step = max(1, _DRAWS_AT_ONCE // len(p))
  for start in range(0, num_draws, step):
    size = min(step, num_draws - start)
    happened = rng.random((size, len(p))) < p
    shares = np.stack([np.bincount(place, one) / sizes for one in happened])
    drawn.append(_error(said, shares, sizes))
  by_chance = np.concatenate(drawn)
  brier = float(((p - y) ** 2).mean())
  base = y.mean()
  parts = {
    'reliability': float((sizes * (said - came) ** 2).sum() / len(p)),
    'resolution': float((sizes * (came - base) ** 2).sum() / len(p)),
    'uncertainty': float(base * (1 - base)),
  }
  binned = parts['reliability'] - parts['resolution'] + parts['uncertainty']
  return {
    'n': len(p),
    'probability': float(p.mean()),
    'outcome': float(base),
    'ece': float(ece),
    'ece_by_chance': float(by_chance.mean()),
    'p_value': float((1 + (by_chance >= ece - 1e-12).sum()) / (1 + num_draws)),
    'brier': brier,
    **parts,
    'within_bins': brier - binned,
    'curve': [
      {'probability': float(a), 'outcome': float(b), 'n': int(n)}
      for a, b, n in zip(said, came, sizes)
    ],
  }


def bins_of_equal_mass(
  probabilities: Float[np.ndarray, 'E'], num_bins: int
) -> Int[np.ndarray, 'E']:
  """Returns the bin of each, numbered from 0 by rising probability.

  The edges are quantiles; a probability at an edge is below it.

  Raises:
    GenrecError: if there is no bin.
  """
  if num_bins < 1:
    raise GenrecError(f'Got num_bins={num_bins}, expected at least 1.')
  edges = np.quantile(probabilities, np.arange(1, num_bins) / num_bins)
  place = np.searchsorted(edges, probabilities)
  return np.unique(place, return_inverse=True)[1]


def _error(said, came, sizes) -> Float[np.ndarray, '*D']:
  """Returns the expected calibration error of shares [..., bins]."""
  return (sizes * np.abs(said - came)).sum(axis=-1) / sizes.sum()


def _check(probabilities, outcomes) -> tuple[np.ndarray, np.ndarray]:
  p, y = np.asarray(probabilities, float), np.asarray(outcomes)
  if p.ndim != 1 or p.shape != y.shape or y.dtype != bool or not len(p):
    raise GenrecError(
      f'Got probabilities of shape {p.shape} and outcomes of shape {y.shape}'
      f' and type {y.dtype}, expected [E] for both, at least one, and bool.'
    )
  # Sums of probabilities may be above 1 by rounding.
  wrong = ~((p >= 0) & (p <= 1 + 1e-4))
  if wrong.any():
    raise GenrecError(
      f'{wrong.sum()} of {len(p)} probabilities are none, such as'
      f' {p[wrong][0]}; expected numbers from 0 to 1.'
    )
  return np.minimum(p, 1.0), y.astype(float)
