"""A task of your own: the next item, from the history read backwards."""

from genrec_jax.tasks import prompts, registry


def reverse(example):
  """Turns the history around; see genrec_jax/tasks/sources.py for the rest."""
  return {**example, 'history': example['history'][::-1]}


template = prompts.Template('newest_first', 'Newest first: {history} And next?')
registry.define_task('backwards', [template], preprocessors=[reverse])
