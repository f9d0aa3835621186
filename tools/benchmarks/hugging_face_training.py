"""Trains Hugging Face's T5: the other side of a comparison.

  python tools/benchmarks/hugging_face_training.py BATCHES.npz CONFIG.json

Runs in an interpreter that has `torch` and `transformers`, and needs nothing
of this package; train_step.py starts it with the batches that it measured
itself and the sizes of its model. AdamW in its fused form, gradients clipped to
the norm of 1, float32, dropout as configured; eager, then by torch.compile.
Prints one line of JSON: examples per second, and seconds of the first step.
"""

import time

BEGAN = time.perf_counter()

import json
import sys

import numpy as np
import torch
import transformers


def make_step(settings, compiled: bool):
  """Returns the function that trains on one batch."""
  torch.manual_seed(0)
  model = transformers.T5ForConditionalGeneration(
    transformers.T5Config(**settings)
  ).train()
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=1e-3, weight_decay=0.01, fused=True
  )
  run = torch.compile(model) if compiled else model

  def step(batch):
    loss = run(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss

  return step


def read_batches(path: str):
  """Returns the arrays of NUMBER/FEATURE as Hugging Face's model takes them."""
  batches = {}
  with np.load(path) as arrays:
    for name, array in arrays.items():
      number, feature = name.split('/')
      batches.setdefault(number, {})[feature] = torch.from_numpy(
        array.astype(np.int64)
      )
  return [
    {
      'input_ids': batch['encoder_input_tokens'],
      'attention_mask': (batch['encoder_input_tokens'] != 0).long(),
      'decoder_input_ids': batch['decoder_input_tokens'],
      # What is padding is not learnt.
      'labels': batch['decoder_target_tokens'].masked_fill(
        batch['decoder_target_tokens'] == 0, -100
      ),
    }
    for batch in batches.values()
  ]


def main():
  """Measures both ways and prints what came out."""
  imported = time.perf_counter() - BEGAN
  batches = read_batches(sys.argv[1])
  with open(sys.argv[2]) as file:
    settings = json.load(file)
  examples = sum(len(batch['labels']) for batch in batches)
  found = {'import seconds': imported}
  for name, compiled in (('eager', False), ('compiled', True)):
    step = make_step(settings, compiled)
    start = time.perf_counter()
    step(batches[0]).item()
    found[f'{name}, first step seconds'] = time.perf_counter() - start
    for batch in batches:  # compiles the other shapes
      step(batch)
    best = 0.0
    for _ in range(3):
      start = time.perf_counter()
      for batch in batches:
        loss = step(batch)
      loss.item()
      best = max(best, examples / (time.perf_counter() - start))
    found[f'{name}, examples per second'] = best
  print(json.dumps(found))


if __name__ == '__main__':
  main()
