"""`transformers` and this library: the same model, tokenizer and generations.

Skipped where torch and transformers are not installed: pip install '.[hf]'.
"""

import dataclasses
import io
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sentencepiece
from flax.traverse_util import unflatten_dict

from genrec_jax.answering.items import rank_items
from genrec_jax.decoding.recommend import take_examples
from genrec_jax.exchange import hugging_face, t5_names, tokenizer
from genrec_jax.exchange.architecture import parameter_shapes
from genrec_jax.export import export
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.models.encoder_decoder import EncoderDecoder
from genrec_jax.models.transformer import T5Config, Transformer
from genrec_jax.tasks.vocabulary import RecommendationVocabulary, count_pieces

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
  names = parameter_shapes(model)
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


def load_tokenizer(directory, layout, text_model):
  tokenizer.write_tokenizer(directory, layout, text_model)
  return transformers.AutoTokenizer.from_pretrained(directory)


def test_their_tokenizer_encodes_and_decodes_the_prompts_of_a_run(
  run, tmp_path
):
  text_model = run.cache.text_model.read_bytes()
  theirs = load_tokenizer(tmp_path, run.layout, text_model)
  ours = RecommendationVocabulary(run.layout, text_model)
  assert theirs.pad_token_id == 0 and theirs.eos_token_id == 1
  for task in run.cache.tasks():
    examples = run.cache.examples(task, 'validation')
    for tokens in (examples.inputs[0], examples.targets[0]):
      tokens = [token for token in tokens.tolist() if token > 1]
      text = ours.decode(tokens)
      assert theirs.decode(tokens) == text
      assert theirs(text)['input_ids'] == ours.encode(text), text
      if task in ('sequential', 'rating'):  # words and ID tokens alone
        assert theirs(text)['input_ids'] == tokens


def test_their_tokenizer_cuts_text_as_a_model_like_that_of_t5(tmp_path):
  words = 'The quick brown fox jumps over a lazy dog; ten ﬁne items, please.'
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([words, *words.split()] * 9),
    model_writer=model,
    vocab_size=60,
    model_type='unigram',
    hard_vocab_limit=False,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
  )
  text_model = model.getvalue()
  layout = TokenLayout(
    num_text_tokens=count_pieces(text_model),
    codebook_sizes=(4, 4),
    user_codebook_sizes=(5,),
  )
  theirs = load_tokenizer(tmp_path, layout, text_model)
  ours = RecommendationVocabulary(layout, text_model)
  for text in (words, '  The  ﬁne\tﬀox ', 'Ｔｈｅ日本dog', 'foxes☃☃', ''):
    assert theirs(text)['input_ids'] == ours.encode_text(text), text
  # As a template is cut: words and codes one after the other.
  prompt = 'The dog <u0:3> jumps over <i0:3><i1:0> <i0:2><i1:1>, please.'
  parts = [part for part in re.split(r'(<\w+:\d>)', prompt) if part]
  codes = tokenizer.code_pieces(layout)
  expected = []
  for part in parts:
    expected += (
      [layout.num_text_tokens + codes.index(part)]
      if part in codes
      else ours.encode_text(part)
    )
  assert theirs(prompt)['input_ids'] == expected


def test_their_beams_over_the_catalogue_find_our_items(run, tmp_path):
  """By the lines of docs/export.md, on what `genrec export` writes."""
  directory = export(
    run_dir=run.directory,
    model=run.model,
    format='hugging_face',
    output=tmp_path / 'exported',
    checkpoint='last',
  )
  examples = take_examples(run.cache.examples('sequential', 'test'), range(4))
  lists = rank_items(run, examples, num_beams=4, exclude_seen=False)
  ours = RecommendationVocabulary(run.layout, run.cache.text_model.read_bytes())
  names = {
    'directory': directory,
    'prompts': [ours.decode(examples.inputs[row]) for row in range(4)],
    'num_beams': 4,
  }
  docs = pathlib.Path(__file__).parents[2] / 'docs/export.md'
  snippet = re.search(
    r'<!-- hugging_face -->\n```python\n(.*?)```', docs.read_text(), re.DOTALL
  )[1]
  exec(snippet, names)
  scores = names['scores'].numpy().reshape(4, 4)
  np.testing.assert_allclose(scores, lists.scores, atol=1e-4)
  expected = [run.cache.item_names[item] for item in lists.items.reshape(-1)]
  # Scores of a model that is hardly trained are near each other.
  clear = abs(np.diff(lists.scores, axis=1)).min(axis=1) > 1e-4
  assert clear.any()
  for row in np.flatnonzero(clear):
    places = slice(4 * row, 4 * row + 4)
    assert names['lists'][places] == expected[places]
