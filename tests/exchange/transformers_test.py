"""`transformers` and this library: the same model, tokenizer and generations.

Skipped where torch and transformers are not installed: pip install '.[hf]'.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from genrec_jax.exchange import hugging_face, t5_names
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer

REASON = "needs the extra 'hf' (torch, transformers), which is not installed"
torch = pytest.importorskip('torch', reason=REASON)
transformers = pytest.importorskip('transformers', reason=REASON)

SIZES = dict(
  vocab_size=64,
  d_model=16,
  d_kv=4,
  num_heads=3,
  d_ff=24,
  num_layers=2,
  num_decoder_layers=2,
  relative_attention_num_buckets=8,
  relative_attention_max_distance=10,
  decoder_start_token_id=0,
)
OURS = T5Config(
  vocab_size=64,
  emb_dim=16,
  num_heads=3,
  head_dim=4,
  mlp_dim=24,
  num_encoder_layers=2,
  num_decoder_layers=2,
  relative_attention_num_buckets=8,
  relative_attention_max_distance=10,
)
VARIANTS = {
  't5_1_0': (
    dict(feed_forward_proj='relu', tie_word_embeddings=True),
    OURS,
  ),
  't5_1_1': (
    dict(feed_forward_proj='gated-gelu', tie_word_embeddings=False),
    dataclasses.replace(
      OURS, mlp_activations=('gelu', 'linear'), logits_via_embedding=False
    ),
  ),
}
LENGTH = 5


def make_inputs():
  inputs = np.random.default_rng(0).integers(2, 64, (4, 14)).astype(np.int32)
  for row, length in enumerate((14, 9, 5, 1)):
    inputs[row, length:] = 0
  return inputs


def make_theirs(choices):
  """Returns a random model of theirs, with norms that are not all ones."""
  torch.manual_seed(0)
  model = transformers.T5ForConditionalGeneration(
    transformers.T5Config(**SIZES, **choices)
  ).eval()
  if not choices['tie_word_embeddings']:
    head = torch.randn_like(model.lm_head.weight) * 0.1
    model.lm_head.weight = torch.nn.Parameter(head)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      if 'layer_norm' in name:
        weight.uniform_(0.5, 1.5)
  return model


def their_logits_and_greedy(model, inputs):
  tokens = torch.from_numpy(inputs).long()
  mask = (tokens != 0).long()
  with torch.no_grad():
    greedy = model.generate(
      input_ids=tokens,
      attention_mask=mask,
      do_sample=False,
      max_new_tokens=LENGTH,
      min_new_tokens=LENGTH,
    )
    logits = model(
      input_ids=tokens, attention_mask=mask, decoder_input_ids=greedy[:, :-1]
    ).logits
  return logits.numpy(), greedy[:, 1:].numpy()


def our_logits_and_greedy(config, weights, inputs):
  model = EncoderDecoder(Transformer(config))
  shapes = jax.eval_shape(
    lambda key: model.get_initial_variables(
      key,
      dict.fromkeys(('encoder_input_tokens', 'decoder_input_tokens'), (1, 4)),
    ),
    jax.random.PRNGKey(0),
  )
  names = flatten_dict(dict(shapes['params']), sep='/')
  params = unflatten_dict(t5_names.stack_layers(weights, names), sep='/')

  @jax.jit
  def compute(decoder_inputs):
    batch = {
      'encoder_input_tokens': jnp.asarray(inputs),
      'decoder_input_tokens': decoder_inputs,
      'decoder_target_tokens': decoder_inputs,
    }
    return model.logits(params, batch)

  tokens = np.zeros((len(inputs), LENGTH + 1), np.int32)
  for place in range(LENGTH):
    logits = np.array(compute(tokens[:, :-1]))
    logits[..., 1] = -np.inf  # their greedy is not to end
    tokens[:, place + 1] = logits[:, place].argmax(axis=-1)
  return np.asarray(compute(tokens[:, :-1])), tokens[:, 1:]


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('scan', [False, True])
def test_their_model_is_the_same_here_and_back_there(variant, scan, tmp_path):
  choices, config = VARIANTS[variant]
  theirs, inputs = make_theirs(choices), make_inputs()
  expected_logits, expected_greedy = their_logits_and_greedy(theirs, inputs)

  theirs.save_pretrained(tmp_path / 'theirs')
  weights = hugging_face.read_weights(tmp_path / 'theirs')
  config = dataclasses.replace(config, scan_layers=scan)
  logits, greedy = our_logits_and_greedy(config, weights, inputs)
  np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
  np.testing.assert_array_equal(greedy, expected_greedy)

  (tmp_path / 'back').mkdir()
  hugging_face.write_model(
    tmp_path / 'back', config, weights, max_new_tokens=LENGTH
  )
  back = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / 'back')
  logits, greedy = their_logits_and_greedy(back.eval(), inputs)
  np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
  np.testing.assert_array_equal(greedy, expected_greedy)
  assert back.generation_config.max_new_tokens == LENGTH


def test_weights_that_pytorch_pickled_are_read(tmp_path):
  theirs = make_theirs(VARIANTS['t5_1_0'][0])
  theirs.save_pretrained(tmp_path)
  expected = hugging_face.read_weights(tmp_path)
  (tmp_path / 'model.safetensors').unlink()
  torch.save(theirs.state_dict(), tmp_path / 'pytorch_model.bin')
  found = hugging_face.read_weights(tmp_path)
  assert found.keys() == expected.keys()
  for name, weight in expected.items():
    np.testing.assert_array_equal(found[name], weight)
