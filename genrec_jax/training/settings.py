"""The settings of a run: what they were when its checkpoints were made."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from genrec_jax import artifacts
from genrec_jax.types import GenrecError, PathLike


def keep_settings(
  directory: PathLike,
  settings: Mapping[str, Any] | None,
  *,
  step: int,
  accept: bool = False,
) -> list[str]:
  """Compares settings with those of a run's checkpoints, and records them.

  They are in the manifest of the checkpoints, and what they were before each
  accepted change stays there too.

  Args:
    directory: the checkpoints, which have a manifest.
    settings: JSON values by name; None compares nothing.
    step: the step that training goes on from; 0 compares nothing.
    accept: whether changed ones are accepted.

  Returns:
    A line for each that changed.

  Raises:
    GenrecError: if some changed and that is not accepted.
  """
  if settings is None:
    return []
  manifest = artifacts.read_manifest(directory, 'checkpoints')
  # As JSON has them: tuples are lists.
  settings = json.loads(json.dumps(dict(settings), default=str))
  before = manifest.get('settings')
  lines = []
  if step and before is not None and before != settings:
    lines = _changes(before, settings)
    if not accept:
      raise GenrecError(
        f'The checkpoint of step {step} in {directory} was trained with other'
        f' settings: {"; ".join(lines)}. Set them back, train in another'
        ' run_dir, or, to go on with the new ones all the same, add'
        ' --accept_changes.'
      )
    manifest.setdefault('changes', []).append({'step': step, 'from': before})
  if before != settings and jax.process_index() == 0:
    manifest['settings'] = settings
    artifacts.write_json(pathlib.Path(directory) / artifacts.MANIFEST, manifest)
  return [f'After step {step}: {line}.' for line in lines]


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
  """Returns a clause for each setting that differs."""

  def told(settings, name):
    return repr(settings[name]) if name in settings else 'at its default'

  return [
    f'{name} was {told(before, name)} and is {told(now, name)}'
    for name in sorted(before.keys() | now.keys())
    if told(before, name) != told(now, name)
  ]
