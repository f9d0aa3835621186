"""Texts from a model: drawn, searched, scored, and with items that exist. See
docs/decoding.md. The weights are random, so the texts say nothing.

  python examples/decode_text.py
"""

import jax
import numpy as np

from genrec_jax.decoding.mentions import (
  find_mentions,
  invented_share,
  mention_grammar,
)
from genrec_jax.decoding.ratings import (
  expected_value,
  pad_candidates,
  score_candidates,
)
from genrec_jax.decoding.sampling import (
  Sampling,
  make_generate_fn,
  request_keys,
)
from genrec_jax.decoding.text_beam import make_text_beam_fn
from genrec_jax.decoding.texts import AllowedTokens, text_tokens
from genrec_jax.decoding.trie_builder import build_trie
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.models.config import T5Config
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import Transformer
from genrec_jax.types import EOS_ID

NUM_ITEMS, LENGTH = 100, 24
LAYOUT = TokenLayout(num_text_tokens=40, codebook_sizes=(16, 16, 16))
# What the text vocabulary would say of '1' .. '5', 'yes' and 'no'.
STARS = [[token, EOS_ID] for token in range(10, 15)]
YES, NO = [20, EOS_ID], [21, 22, EOS_ID]


def make_model():
  """Returns a small model and its parameters."""
  config = T5Config(
    vocab_size=LAYOUT.vocab_size,
    emb_dim=32,
    num_heads=2,
    head_dim=16,
    mlp_dim=64,
    num_encoder_layers=1,
    num_decoder_layers=1,
  )
  model = EncoderDecoder(Transformer(config))
  shapes = {'encoder_input_tokens': (1, 8), 'decoder_input_tokens': (1, 8)}
  variables = jax.jit(
    lambda key: model.get_initial_variables(key, shapes)['params']
  )
  return model, variables(jax.random.key(0))


def main() -> None:
  """Draws, searches, scores, and talks of items."""
  model, params = make_model()
  rng = np.random.default_rng(0)
  inputs = rng.integers(3, LAYOUT.num_text_tokens, (2, 8), np.int32)
  batch = {'encoder_input_tokens': inputs}
  text = AllowedTokens(text_tokens(LAYOUT))

  generate = make_generate_fn(model, length=LENGTH)
  greedy = generate(params, batch, grammar=text)
  print('greedy:', greedy.tokens[0, 0, :8])

  search = make_text_beam_fn(model, length=LENGTH, num_beams=4)
  found = search(params, batch, alpha=0.6, grammar=text)
  print('beams:', found.tokens[0, 0, :8])

  # Other numbers do not compile again; a request's texts are its own.
  draw = make_generate_fn(model, length=LENGTH, num_samples=20)
  drawing = {
    'keys': request_keys(jax.random.key(1), np.arange(2)),
    'sampling': Sampling(temperature=1.2, top_k=100, top_p=0.99),
  }
  drawn = draw(params, batch, grammar=text, **drawing)
  print('drawn:', drawn.tokens[0, 0, :8])

  scores = score_candidates(model, params, batch, pad_candidates(STARS))
  print('expected stars:', expected_value(scores, [1, 2, 3, 4, 5]))
  scores = score_candidates(model, params, batch, pad_candidates([YES, NO]))
  print('probability of yes:', expected_value(scores, [1, 0]))

  # Text that names items, with and without the trie.
  number = rng.choice(16**3, NUM_ITEMS, replace=False)
  codes = np.stack(np.unravel_index(number, (16, 16, 16)), axis=1)
  trie = build_trie(LAYOUT.item_tokens(codes), blocks=LAYOUT.item_blocks)
  exclude = np.arange(20).reshape(2, 10)  # what each user has
  grammar = mention_grammar(trie, LAYOUT, exclude=exclude)
  for name, options in (('with', {'grammar': grammar}), ('without', {})):
    texts = draw(params, batch, **drawing, **options)
    tokens = np.asarray(texts.tokens).reshape(-1, LENGTH)
    mentions = find_mentions(trie, LAYOUT, tokens)
    print(
      f'{name} the trie: {len(mentions)} mentions,'
      f' {invented_share(mentions):.0%} of them invented'
    )


if __name__ == '__main__':
  main()
