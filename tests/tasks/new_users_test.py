"""A prompt filled in without SeqIO is the one that SeqIO writes."""

import numpy as np
import pytest

from genrec_jax.data.token_cache import TokenCache
from genrec_jax.decoding.new_users import new_user_examples, read_prompt
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.tokenize import tokenize
from genrec_jax.types import GenrecError


@pytest.mark.parametrize('template', ['plain', 'bought'])
@pytest.mark.parametrize(
  'kind', ['run_dir', 'run_dir_with_users', 'run_dir_with_variable_ids']
)
def test_a_user_of_the_data_has_the_same_input(kind, template, request):
  run_dir = request.getfixturevalue(kind)
  tokenize(run_dir=run_dir, templates=template, max_history=4)
  cache = TokenCache.load(run_dir / 'tokens')
  ids = ItemIds.load(run_dir / 'ids')
  known = cache.examples('sequential', 'test')
  user_tokens = None
  if ids.user_codebook_sizes:
    layout = ids.layout(cache.layout['num_text_tokens'])
    user_tokens = layout.user_tokens(ids.user_codes)[known.user]
  examples = new_user_examples(
    cache, 'sequential', list(known.history), user_tokens=user_tokens
  )
  np.testing.assert_array_equal(examples.inputs.values, known.inputs.values)
  np.testing.assert_array_equal(examples.inputs.offsets, known.inputs.offsets)


def test_a_prompt_with_candidates_is_for_known_users_alone(run_dir):
  tokenize(run_dir=run_dir, tasks='top_n', templates='choose')
  cache = TokenCache.load(run_dir / 'tokens')
  with pytest.raises(GenrecError, match="slot 'candidates'"):
    read_prompt(cache, 'top_n')
