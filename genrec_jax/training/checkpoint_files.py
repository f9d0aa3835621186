"""Which checkpoints lie in a directory, and which of them is meant."""

from __future__ import annotations

import json
import logging
import pathlib
import re

from genrec_jax.types import GenrecError, PathLike


def list_checkpoints(directory: PathLike) -> list[int]:
  """Returns the steps of the complete checkpoints, ascending.

  An incomplete one (copied or deleted in part; Orbax itself leaves none under
  that name) is passed over with a warning.
  """
  complete, incomplete = sort_checkpoints(pathlib.Path(directory))
  for step, missing in incomplete.items():
    logging.warning(
      'Checkpoint %s is incomplete (it lacks %s) and is passed over.',
      pathlib.Path(directory) / f'checkpoint_{step}',
      missing,
    )
  return complete


def find_checkpoint(directory: PathLike, step: str | int = 'best') -> int:
  """Returns the step of a checkpoint: 'best', 'last', or a number.

  Raises:
    GenrecError: if there is no such one; the message lists those there are.
  """
  directory = pathlib.Path(directory)
  steps = list_checkpoints(directory)
  if not steps:
    raise GenrecError(
      f'No checkpoint in {directory}; run `genrec train` first, or pass the'
      ' right directory.'
    )
  if step == 'last':
    return steps[-1]
  found = _best_step(directory, steps[-1]) if step == 'best' else step
  if found is None:
    raise GenrecError(
      f'No best checkpoint in {directory}: nothing was evaluated while it'
      " was trained. Pass 'last', or one of the steps"
      f' {", ".join(map(str, steps))}.'
    )
  if found not in steps:
    raise GenrecError(
      f'No checkpoint {step if step == found else f"{found} ({step})"} in'
      f" {directory}; expected 'best', 'last' or one of the steps"
      f' {", ".join(map(str, steps))}.'
    )
  return found


def sort_checkpoints(
  directory: pathlib.Path,
) -> tuple[list[int], dict[int, str]]:
  """Returns the steps of whole checkpoints, and what each other one lacks."""
  complete, incomplete = [], {}
  for path in directory.glob('checkpoint_*'):
    match = re.fullmatch(r'checkpoint_(\d+)', path.name)
    if not match:
      continue
    needed = ('_CHECKPOINT_METADATA', 'state/_METADATA', 'state/manifest.ocdbt')
    missing = [name for name in needed if not (path / name).exists()]
    if missing:
      incomplete[int(match.group(1))] = missing[0]
    else:
      complete.append(int(match.group(1)))
  return sorted(complete), incomplete


def _best_step(directory: pathlib.Path, last: int) -> int | None:
  path = progress_file(directory, last)
  if not path.exists():  # T5X wrote it
    return None
  return json.loads(path.read_text(encoding='utf-8'))['best_step']


def progress_file(directory: pathlib.Path, step: int) -> pathlib.Path:
  """Returns where Orbax's JsonSave puts the progress."""
  return directory / f'checkpoint_{step}' / 'progress' / 'metadata'
