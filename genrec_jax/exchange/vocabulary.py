"""The token tables of a foreign model, made to fit a run's vocabulary.

Text keeps its rows: the pieces of the run must be those of the model. ID tokens
are new to it. Where they come T5 has sentinels and padding, whose rows go.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
from jaxtyping import Float32

from genrec_jax.exchange.t5_names import EMBEDDING, HEAD, Weights
from genrec_jax.exchange.tokenizer import read_pieces
from genrec_jax.types import GenrecError


def extend_tables(
  weights: Weights,
  *,
  num_kept: int,
  num_rows: int,
  noise: float,
  seed: int,
) -> Weights:
  """Returns weights whose embedding, and head if any, have new rows.

  A new row is the mean of those that are kept, plus `noise` times their
  standard deviation, column by column, times a normal draw.

  Args:
    weights: layer by layer, under our names.
    num_kept: how many rows stay: the first ones.
    num_rows: how many there are to be.
    noise: how far new rows lie from the mean, in standard deviations.
    seed: of the draws.

  Raises:
    GenrecError: if the model has fewer tokens than are to be kept.
  """
  tables = {EMBEDDING: weights[EMBEDDING]}
  if HEAD in weights:
    tables[HEAD] = weights[HEAD].T
  extended = dict(weights)
  for number, (name, table) in enumerate(tables.items()):
    if len(table) < num_kept:
      raise GenrecError(
        f'The model has {len(table):,} tokens, fewer than the {num_kept:,} text'
        ' pieces of the run; it is of another vocabulary. Tokenize with the'
        " model's own SentencePiece file (--text_model=FILE)."
      )
    kept = table[:num_kept]
    rng = np.random.default_rng((seed, number))
    draws = rng.standard_normal(
      (num_rows - num_kept, table.shape[1]), np.float32
    )
    extended[name] = _stack(kept, draws, noise)
  if HEAD in extended:
    extended[HEAD] = np.ascontiguousarray(extended[HEAD].T)
  return extended


def _stack(
  kept: Float32[np.ndarray, 'n D'],
  draws: Float32[np.ndarray, 'm D'],
  noise: float,
) -> Float32[np.ndarray, 'n+m D']:
  mean = kept.mean(axis=0, dtype=np.float64)
  deviation = kept.std(axis=0, dtype=np.float64)
  new = mean[None] + noise * deviation[None] * draws
  return np.concatenate([kept, new.astype(np.float32)])


def check_pieces(text_model: pathlib.Path, source: pathlib.Path) -> None:
  """Refuses a model whose text pieces are not those of the run.

  Args:
    text_model: the SentencePiece model of the run.
    source: a SentencePiece model, or a tokenizer.json of Hugging Face.

  Raises:
    GenrecError: if a number stands for another piece.
  """
  here = _read_text_pieces(text_model)
  there = (
    _read_tokenizer(source)
    if source.suffix == '.json'
    else dict(enumerate(_read_text_pieces(source)))
  )
  for token, piece in enumerate(here):
    if there.get(token) != piece:
      raise GenrecError(
        f'Token {token} is {there.get(token)!r} in {source} and {piece!r} in'
        f" the run's {text_model}: it was tokenized with other text pieces."
        ' Run `genrec tokenize` again with --text_model=FILE, the'
        " SentencePiece file of the model (T5's spiece.model), and then import."
      )


def _read_text_pieces(path: pathlib.Path) -> list[str]:
  try:
    return [piece.piece for piece in read_pieces(path.read_bytes()).pieces]
  except Exception as error:  # protobuf's errors are of many kinds
    raise GenrecError(
      f'Cannot read the SentencePiece model {path}: {error}.'
    ) from error


def _read_tokenizer(path: pathlib.Path) -> dict[int, str]:
  """Returns the pieces of a tokenizer.json by their numbers."""
  try:
    tokenizer = json.loads(path.read_text(encoding='utf-8'))
    vocab = tokenizer['model']['vocab']
  except (OSError, ValueError, KeyError) as error:
    raise GenrecError(f'Cannot read the tokenizer {path}: {error}.') from error
  if isinstance(vocab, dict):
    return {token: piece for piece, token in vocab.items()}
  return {token: piece for token, (piece, *_) in enumerate(vocab)}
