"""Takes the weights of a T5 or Flan-T5 for a run to be trained from."""

from __future__ import annotations

import json
import pathlib

import flax.traverse_util
import numpy as np

from genrec_jax import artifacts, configuration
from genrec_jax.answering.run import load_tokens
from genrec_jax.data.token_cache import TokenCache
from genrec_jax.exchange import hugging_face, t5x
from genrec_jax.exchange.architecture import (
  describe_weights,
  find_model_file,
  parameter_shapes,
)
from genrec_jax.exchange.t5_names import Weights, stack_layers
from genrec_jax.exchange.vocabulary import check_pieces, extend_tables
from genrec_jax.training.checkpoints import list_checkpoints
from genrec_jax.training.parameters import first_difference, write_initial
from genrec_jax.types import GenrecError, PathLike

# Files of Hugging Face that say which piece has which number.
_PIECE_FILES = ('spiece.model', 'tokenizer.json')


def import_model(
  *,
  run_dir: PathLike,
  model,
  source: PathLike,
  text_model: PathLike | None = None,
  noise: float = 1.0,
  seed: int = 0,
) -> pathlib.Path:
  """Reads a T5 and writes `RUN_DIR/initial_params`, where training starts.

  The run is tokenized with the text pieces of that model (`genrec tokenize
  --text_model=FILE`), which then have its rows of the token tables. ID tokens
  are new to it: their rows are drawn around the mean of the text's, `noise`
  standard deviations wide, column by column. A model that was exported of a run
  with the same vocabulary keeps all of its rows.

  Args:
    run_dir: the run directory, tokenized.
    model: the model class that will be trained.
    source: a directory of Hugging Face's library (config.json, safetensors, the
      tokenizer), or a T5X checkpoint.
    text_model: the SentencePiece file of the source; by default the one in its
      directory.
    noise: how far new rows lie from the mean; at 1 they are as unlike each
      other as the rows of text are.
    seed: of these draws.

  Returns:
    The directory.

  Raises:
    GenrecError: if the run has other text pieces, the model other sizes, or
      was trained already.
  """
  run_dir, source = pathlib.Path(run_dir), pathlib.Path(source)
  if noise < 0:
    raise GenrecError(f'Got noise={noise}, expected 0 or more.')
  steps = list_checkpoints(run_dir / 'checkpoints')
  if steps:
    raise GenrecError(
      f'The run {run_dir} was trained already, to step {steps[-1]}, and goes on'
      ' from there; import into a new run_dir, or remove its checkpoints.'
    )
  cache = load_tokens(run_dir)
  is_hugging_face = (source / 'config.json').exists()
  if not is_hugging_face and not t5x.is_t5x(source):
    raise GenrecError(
      f'No model in {source}; expected config.json and weights of Hugging'
      ' Face, or a T5X checkpoint (checkpoint_N).'
    )
  num_text = cache.layout['num_text_tokens']
  num_kept = cache.vocab_size
  if not _has_vocabulary(source, cache.vocabulary_fingerprint):
    _check_text(cache, source, text_model)
    num_kept = num_text
  read = hugging_face if is_hugging_face else t5x
  weights = read.read_weights(source)
  if is_hugging_face:
    _check_choices(source, model)
  sizes = describe_weights(weights)
  weights = extend_tables(
    weights,
    num_kept=num_kept,
    num_rows=cache.vocab_size,
    noise=noise,
    seed=seed,
  )
  params = _fit(weights, model, source, sizes)
  directory = write_initial(
    run_dir,
    flax.traverse_util.unflatten_dict(params, sep='/'),
    vocabulary=cache.vocabulary_fingerprint,
    source=str(source),
    kept_tokens=num_kept,
    noise=noise,
    seed=seed,
  )
  count = sum(array.size for array in params.values())
  print(
    f'{count:,} parameters of {source} are in {directory}; {num_kept:,} tokens'
    f' keep their rows, {cache.vocab_size - num_kept:,} are new. `genrec train`'
    ' starts from them.'
  )
  return directory


def _has_vocabulary(source: pathlib.Path, vocabulary: str) -> bool:
  """Returns whether a model was exported of a run with this vocabulary."""
  for directory in (source, source.parent):
    path = directory / artifacts.MANIFEST
    if path.exists():
      manifest = json.loads(path.read_text(encoding='utf-8'))
      return manifest.get('inputs', {}).get('vocabulary') == vocabulary
  return False


def _check_text(
  cache: TokenCache, source: pathlib.Path, text_model: PathLike | None
) -> None:
  """Refuses a model of other text pieces than the run's."""
  if cache.text_model is None:
    return  # Prompts of codes alone: only pad, eos and unk are kept.
  places = [source / name for name in _PIECE_FILES]
  if text_model is not None:
    places = [pathlib.Path(text_model)]
  found = [path for path in places if path.exists()]
  if not found:
    raise GenrecError(
      f'Which text pieces the model in {source} has cannot be told: there is no'
      f' {" or ".join(path.name for path in places)}; pass its SentencePiece'
      ' file as --text_model=FILE.'
    )
  check_pieces(cache.text_model, found[0])


def _check_choices(source: pathlib.Path, model) -> None:
  """Refuses a model of other activations, which no shape tells."""
  theirs = hugging_face.read_config(source)
  ours = hugging_face.hugging_face_config(model.module.config)
  for name in ('feed_forward_proj', 'relative_attention_max_distance'):
    if theirs.get(name, ours[name]) != ours[name]:
      raise GenrecError(
        f'The model in {source} has {name} {theirs[name]!r} and the model of'
        f' this run {ours[name]!r}; bind transformer.T5Config.mlp_activations'
        ' or relative_attention_max_distance accordingly.'
      )


def _fit(weights: Weights, model, source: pathlib.Path, sizes) -> Weights:
  """Returns weights under the names of a model.

  Raises:
    GenrecError: if they are of another model.
  """
  expected = parameter_shapes(model)
  params = stack_layers(weights, expected)
  found = {name: array.shape for name, array in params.items()}
  name = first_difference(found, expected)
  if name is None:
    return {name: np.asarray(params[name]) for name in expected}
  file = find_model_file(sizes, configuration.gin_search_paths())
  bindings = ', '.join(f'{name} = {value!r}' for name, value in sizes.items())
  way_out = (
    f"include '{file}' in the experiment"
    if file
    else f'bind transformer.T5Config: {bindings}'
  )
  raise GenrecError(
    f'The model in {source} is not the one of this run: {name} is'
    f' {found.get(name, "absent")} there and {expected.get(name, "absent")}'
    f' here; {way_out}.'
  )
