"""Odd data of every kind in one data set, and a small run of it.

An empty review, a user with one interaction, an item of which the data say
nothing, emoji and right-to-left scripts, texts of ten thousand words, dialogues
that mention items which nobody knows.
"""

import json

from genrec_jax import main
from genrec_jax.tasks import definitions

DATASET = """\
name = 'odd'

[[layouts]]

[[layouts.files]]
file = 'reviews.json'
reader = 'amazon_reviews'

[[layouts.files]]
file = 'metadata.json'
reader = 'amazon_metadata'

[[layouts.files]]
file = 'explanations.jsonl'
reader = 'explanations'

[[layouts.files]]
file = 'dialogues.jsonl'
reader = 'redial_dialogues'
"""

NUM_ITEMS = 16
NAMELESS = str(100 + NUM_ITEMS)  # an item of which the data say nothing
SHOUTING = '😀👍🏽 שלום וברכה! رائع جدا، أنصح به \u200f(100%)'
ENDLESS = 'word after word and no end of it ' * 1_250  # 10,000 words
CONFIGURATION = (
  '--gin_file=experiments/tiny.gin',
  "--gin.DATASET='DIRECTORY/odd.toml'",
  '--gin.DATA_DIR=None',
  f'--gin.TASKS={tuple(definitions.BUILTIN)}',
  "--gin.TEMPLATES=('plain', 'straight', 'named', 'choose')",
  '--gin.TRAIN_STEPS=4',
  '--gin.WARMUP_STEPS=1',
  '--gin.CHECKPOINT_PERIOD=4',
  '--gin.BATCH_SIZE=16',
  '--gin.CODEBOOK_SIZE=8',
  '--gin.NUM_BEAMS=10',
  '--gin.MAX_HISTORY=4',
  '--gin.train.train.make_evaluate_fn=None',
  '--gin.train.cached_batches.num_buckets=1',
  '--gin.train.cached_batches.num_target_buckets=1',
  '--gin.tokenize.tokenize.num_candidates=5',
  '--gin.tokenize.tokenize.max_text=48',
  '--gin.tokenize.tokenize.max_answer=16',
  '--gin.tokenize.tokenize.text_pieces=500',
  '--gin.transformer.T5Config.num_encoder_layers=1',
  '--gin.transformer.T5Config.num_decoder_layers=1',
  '--gin.transformer.T5Config.emb_dim=16',
  '--gin.transformer.T5Config.mlp_dim=16',
)


def review(user, item, time, **fields):
  return {
    'reviewerID': user,
    'asin': str(item),
    'overall': float(1 + (item + time) % 5),
    'unixReviewTime': 86_400 * time,
    'reviewText': f'The tool number {item} is what {user} was looking for.',
    'summary': f'Number {item} works',
    **fields,
  }


def write_reviews():
  rows = [
    review(f'user {number}', 101 + (number + 2 * step) % NUM_ITEMS, step + 1)
    for number in range(12)
    for step in range(7)
  ]
  # Train, validation and test each have one of the kind.
  for step, odd in enumerate([SHOUTING, ENDLESS, '', ' \t ']):
    for last in (-1, -2, -3):
      place = 7 * (step + 1) + last
      rows[place] |= {'reviewText': odd, 'summary': odd[:40]}
  rows[4] |= {'reviewText': 'bell \x07 and \ufffc', 'summary': 'ctrl \x00'}
  del rows[5]['reviewText']
  rows += [review('user 1', int(NAMELESS), 9), review('user 2', 101, 9)]
  rows.append(review('once', 103, 3))
  return rows


def write_metadata():
  titles = {101: SHOUTING, 102: ENDLESS, 103: '  ', 104: ''}
  return [
    {'asin': str(item), 'title': titles.get(item, f'Tool number {item}')}
    for item in range(101, 101 + NUM_ITEMS)
    if str(item) != NAMELESS
  ]


def write_explanations():
  return [
    {
      'user': f'user {number}',
      'item': str(101 + (number + 2 * step) % NUM_ITEMS),
      'feature': 'ضمان 😀' if number % 2 else 'price',
      'opinion': 'good',
      'sentiment': 1,
      'sentence': [SHOUTING, ENDLESS, 'fair price', '  '][number % 4],
    }
    for number in range(12)
    for step in range(7)
  ]


def write_dialogues():
  def dialogue(number, seeker, recommender, mentions):
    return {
      'conversationId': str(number),
      'initiatorWorkerId': 1,
      'respondentWorkerId': 2,
      'movieMentions': mentions,
      'messages': [
        {'senderWorkerId': 1 + turn % 2, 'text': text}
        # No two dialogues may say the same.
        for turn, text in enumerate([seeker, f'{recommender} ({number})'] * 2)
      ],
    }

  odd = [
    ('I had @999, which nobody knows.', 'Then @101!', {'101': 'A'}),
    (SHOUTING, f'{SHOUTING} @105', {'105': 'Tool 105'}),
    (ENDLESS, f'{ENDLESS} @106', {'106': 'Tool 106'}),
    ('Hi', '@998 or @777', {'777': 'An item of dialogues alone'}),
    ('Hi', 'Nothing for you.', {}),
    ('   ', '@107', {'107': 'Tool 107'}),
    ('Hi', f'@{NAMELESS}', {NAMELESS: ''}),
  ]
  return [dialogue(number, *odd[number % len(odd)]) for number in range(63)]


def write_run(directory):
  """Runs the commands from the raw files to a checkpoint; returns the run."""
  (directory / 'odd.toml').write_text(DATASET)
  for name, rows in {
    'reviews.json': write_reviews(),
    'metadata.json': write_metadata(),
    'explanations.jsonl': write_explanations(),
    'dialogues.jsonl': write_dialogues(),
  }.items():
    lines = (json.dumps(row) + '\n' for row in rows)
    (directory / name).write_text(''.join(lines))
  run_dir = directory / 'run'
  for command, *arguments in (
    ('prepare', *CONFIGURATION, '--on_bad_row=skip'),
    ('build_ids',),
    ('tokenize',),
    ('train',),
  ):
    arguments = [
      argument.replace('DIRECTORY', str(directory)) for argument in arguments
    ]
    done = main.main([command, f'--run_dir={run_dir}', *arguments])
    assert done == 0, command
  return run_dir
