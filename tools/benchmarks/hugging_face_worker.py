"""Generates items with Hugging Face's T5: the other side of a comparison.

Runs in an interpreter that has `torch` and `transformers`, and needs nothing
of this package. hugging_face.py starts it with a directory:

  weights.npz   the weights under Hugging Face's names
  config.json   the arguments of `T5Config`, and the number of threads
  items.npy     int [N, L], the tokens of every item, all of length L

and writes it one job a line, JSON: {"inputs": [.npy, ...], "num_beams": K,
"constrained": bool, "results": .npz or null}. It answers one line, JSON: the
seconds of each batch, on the clock and of CPU time. The end of its input ends
it.
"""

import json
import pathlib
import sys
import time

import numpy as np
import torch
import transformers


def load_model(directory: pathlib.Path, config: dict):
  """Returns the model with the weights of the directory.

  `generate` runs as it is meant to, without handicaps: eval mode, key-value
  cache, the attention that the library chooses (SDPA), no scores collected
  while the clock runs.
  """
  t5_config = transformers.T5Config(**config)
  model = transformers.T5ForConditionalGeneration(t5_config)
  with np.load(directory / 'weights.npz') as weights:
    state = {name: torch.from_numpy(weights[name]) for name in weights}
  missing, unexpected = model.load_state_dict(state, strict=False)
  # The embedding goes by several names, of which the file has one.
  tied = {
    'encoder.embed_tokens.weight',
    'decoder.embed_tokens.weight',
    *(['lm_head.weight'] if config['tie_word_embeddings'] else []),
  }
  if unexpected or set(missing) - tied:
    raise SystemExit(
      f'The weights lack {sorted(set(missing) - tied)} and have unknown'
      f' {sorted(unexpected)}; the names are those of another T5.'
    )
  model.tie_weights()
  # Items have one length and no end token, so that the length ends them: no
  # candidate is ever compared with an end.
  model.generation_config.eos_token_id = None
  return model.eval()


def make_allowed_tokens(item_tokens: np.ndarray):
  """Returns the callback: a dictionary from a prefix to what may follow.

  One look-up a beam and step; the tokens lie there as tensors, so the mask
  is written without a conversion. A prefix of no item (beams that hold
  nothing before K prefixes exist) may go on with padding, as `generate`
  refuses to be left without a token.
  """
  start = 0  # Every sequence begins with the decoder's start token.
  children = {}
  for tokens in item_tokens.tolist():
    for level, token in enumerate(tokens):
      children.setdefault((start, *tokens[:level]), set()).add(token)
  children = {
    prefix: torch.tensor(sorted(tokens)) for prefix, tokens in children.items()
  }
  nothing = torch.tensor([0])

  def allowed_tokens(batch_id, prefix):
    del batch_id
    return children.get(tuple(prefix.tolist()), nothing)

  return allowed_tokens


def main():
  """Answers jobs until the input ends."""
  directory = pathlib.Path(sys.argv[1])
  settings = json.loads((directory / 'config.json').read_text())
  torch.set_num_threads(settings['num_threads'])
  transformers.logging.set_verbosity_error()
  model = load_model(directory, settings['t5_config'])
  item_tokens = np.load(directory / 'items.npy')
  allowed_tokens = make_allowed_tokens(item_tokens)
  facts = {
    'torch': torch.__version__,
    'transformers': transformers.__version__,
    'threads': torch.get_num_threads(),
    'attention': model.config._attn_implementation,
  }
  print(json.dumps(facts), flush=True)
  for line in sys.stdin:
    job = json.loads(line)
    seconds, tokens, scores = [], [], []
    for path in job['inputs']:
      inputs = np.load(path)
      start = time.perf_counter(), time.process_time()
      with torch.inference_mode():
        input_ids = torch.from_numpy(inputs).long()
        found = model.generate(
          input_ids=input_ids,
          attention_mask=(input_ids != 0).long(),
          num_beams=job['num_beams'],
          num_return_sequences=job['num_beams'],
          do_sample=False,
          use_cache=True,
          # Sums of log-probabilities, and nothing but the length to end.
          length_penalty=0.0,
          max_new_tokens=item_tokens.shape[1],
          prefix_allowed_tokens_fn=allowed_tokens
          if job['constrained']
          else None,
          return_dict_in_generate=True,
          output_scores=job['results'] is not None,
        )
        shape = (len(inputs), job['num_beams'])
        # Without the start token.
        sequences = found.sequences[:, 1:].numpy().reshape(*shape, -1)
      seconds.append(
        (time.perf_counter() - start[0], time.process_time() - start[1])
      )
      if job['results'] is not None:
        tokens.append(sequences)
        scores.append(found.sequences_scores.numpy().reshape(shape))
    if job['results'] is not None:
      np.savez(
        job['results'],
        tokens=np.concatenate(tokens),
        scores=np.concatenate(scores),
      )
    print(json.dumps(seconds), flush=True)


if __name__ == '__main__':
  main()
