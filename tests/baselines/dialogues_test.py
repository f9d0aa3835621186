"""Dialogue floors: what copying the context gets."""

import numpy as np

from genrec_jax.baselines.dialogues import CopyContext
from genrec_jax.baselines.protocol import recommend
from genrec_jax.data.token_cache import Ragged
from genrec_jax.evaluation.conversation import conversation_metrics

NONE = np.zeros(0, np.int64)


def test_copies_what_was_mentioned_the_latest_first():
  baseline = CopyContext().fit(NONE, NONE, 6)
  mentioned = Ragged.from_rows([[4, 2, 4, 3], [], [0]])
  np.testing.assert_array_equal(
    recommend(baseline, mentioned, top_k=4, exclude_seen=False),
    [[3, 4, 2, -1], [-1] * 4, [0, -1, -1, -1]],
  )


def test_finds_all_that_is_repeated_and_nothing_that_is_new():
  generator = np.random.default_rng(0)
  mentioned = Ragged.from_rows(
    [generator.integers(60, size=size % 9) for size in range(50)]
  )
  targets = Ragged.from_rows(
    [generator.integers(60, size=4) for _ in range(50)]
  )
  baseline = CopyContext().fit(NONE, NONE, 60)
  found = conversation_metrics(
    recommend(baseline, mentioned, top_k=10, exclude_seen=False),
    targets,
    mentioned,
  )
  assert found['repeated']['n'] > 0 and found['new']['n'] > 0
  assert found['repeated']['recall@10'] == 1
  assert found['new']['recall@10'] == 0
