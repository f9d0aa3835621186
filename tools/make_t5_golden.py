"""Writes tests/models/testdata/t5_golden.npz from Hugging Face's T5.

Needs `torch` and `transformers`, which the package and its tests do not. Run
it in an environment of its own, from the root of the repository:

    python -m venv .venv-hf && .venv-hf/bin/pip install torch transformers
    .venv-hf/bin/python tools/make_t5_golden.py

For a tiny random T5 1.0 and T5 1.1 it stores the weights, a batch with
padding, and what Hugging Face makes of them: logits, mean loss and a greedy
generation; and the buckets of relative positions.
"""

import pathlib

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention

OUTPUT = (
  pathlib.Path(__file__).parents[1] / 'tests/models/testdata/t5_golden.npz'
)
SIZES = dict(
  vocab_size=64,
  d_model=16,
  d_kv=4,
  num_heads=3,
  d_ff=24,
  num_layers=2,
  num_decoder_layers=2,
  decoder_start_token_id=0,
  pad_token_id=0,
  eos_token_id=1,
  # Distances of the batch reach the logarithmic buckets and the last one.
  relative_attention_num_buckets=8,
  relative_attention_max_distance=10,
)
VARIANTS = {
  't5_1_0': dict(feed_forward_proj='relu', tie_word_embeddings=True),
  't5_1_1': dict(feed_forward_proj='gated-gelu', tie_word_embeddings=False),
}


def make_variant(name: str, choices: dict) -> dict[str, np.ndarray]:
  """Returns the arrays of one variant, their names prefixed by its name."""
  torch.manual_seed(0)
  config = T5Config(**SIZES, **choices)
  model = T5ForConditionalGeneration(config).eval()
  if not choices['tie_word_embeddings']:
    # Transformers 5 takes False as a statement about the scaling alone, and
    # still ties a new model's head.
    model.lm_head.weight = torch.nn.Parameter(
      torch.randn_like(model.lm_head.weight)
    )
  with torch.no_grad():
    # Fresh norms are all ones, which would hide a scale that is not applied.
    for key, weight in model.named_parameters():
      if 'layer_norm' in key:
        weight.uniform_(0.5, 1.5)
  generator = np.random.default_rng(0)
  inputs = generator.integers(2, config.vocab_size, (4, 14))
  targets = generator.integers(2, config.vocab_size, (4, 6))
  for row, length in enumerate((14, 9, 5, 1)):
    inputs[row, length:] = 0
    targets[row, 2 + row :] = 0
  encoder_tokens = torch.from_numpy(inputs)
  mask = (encoder_tokens != 0).long()
  labels = torch.from_numpy(np.where(targets == 0, -100, targets))
  with torch.no_grad():
    output = model(input_ids=encoder_tokens, attention_mask=mask, labels=labels)
    generated = model.generate(
      input_ids=encoder_tokens,
      attention_mask=mask,
      do_sample=False,
      num_beams=1,
      max_new_tokens=5,
      min_new_tokens=5,
    )
  arrays = {
    'inputs': inputs.astype(np.int32),
    'targets': targets.astype(np.int32),
    'logits': output.logits.numpy(),
    'loss': output.loss.numpy(),
    # Without the start token.
    'generated': generated[:, 1:].numpy().astype(np.int32),
  }
  for key, weight in model.named_parameters():
    arrays[f'weights/{key}'] = weight.detach().numpy()
  return {f'{name}/{key}': value for key, value in arrays.items()}


def main():
  """Writes the golden file."""
  arrays = {}
  for name, choices in VARIANTS.items():
    arrays |= make_variant(name, choices)
  positions = torch.arange(-200, 201)
  for bidirectional in (True, False):
    arrays[f'buckets/{bidirectional}'] = (
      T5Attention._relative_position_bucket(
        positions, bidirectional=bidirectional, num_buckets=32, max_distance=128
      )
      .numpy()
      .astype(np.int32)
    )
  OUTPUT.parent.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(OUTPUT, **arrays)
  print(f'{OUTPUT}: {OUTPUT.stat().st_size} bytes, {len(arrays)} arrays')


if __name__ == '__main__':
  main()
