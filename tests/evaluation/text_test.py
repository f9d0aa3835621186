"""Text metrics by hand and against the libraries themselves."""

import subprocess
import sys

import numpy as np
import pytest
import sacrebleu

from genrec_jax.evaluation import text
from genrec_jax.types import GenrecError

GENERATED = [
  'The strap is excellent.',
  'I use it every week',
  'The lid of my mug is poor, sadly.',
  '',
]
REFERENCES = [
  'The strap is really excellent!',
  'I use it every week',
  'The lid is fine',
  'Recommended.',
]


@pytest.mark.parametrize('order', text.BLEU_ORDERS)
def test_bleu_is_sacrebleus_of_every_order(order):
  metric = sacrebleu.BLEU(max_ngram_order=order)
  scores, signature = text.bleu(GENERATED, REFERENCES)
  expected = metric.corpus_score(GENERATED, [REFERENCES])
  assert scores[f'bleu_{order}'] == pytest.approx(expected.score, rel=1e-12)
  assert (
    'tok:13a|smooth:exp' in signature and sacrebleu.__version__ in signature
  )


def test_bleu_by_hand():
  """One text of 4 words of 5, 3 of which match, and 1 of 3 pairs."""
  scores, _ = text.bleu(['a strap is fine'], ['the strap is really fine'])
  penalty = np.exp(1 - 5 / 4)
  assert scores['bleu_1'] == pytest.approx(100 * penalty * 3 / 4)
  assert scores['bleu_2'] == pytest.approx(100 * penalty * np.sqrt(3 / 4 / 3))


def test_rouge_by_hand():
  generated, reference = 'Lid: it is poor', 'it is a poor lid'
  scores = text.example_rouge([generated, 'x'], [reference, 'y'])
  # 4 words against 5: all 4 in common, 1 of 3 pairs (of 4), 3 in order.
  np.testing.assert_allclose(scores['rouge_1'], [100 * 2 * 4 / 9, 0])
  np.testing.assert_allclose(scores['rouge_2'], [100 * 2 * 1 / 7, 0])
  np.testing.assert_allclose(scores['rouge_l'], [100 * 2 * 3 / 9, 0])


def test_distinct_counts_over_all_texts():
  assert text.distinct_ngrams(['Good good strap', 'good strap.', '']) == {
    'distinct_1': 2 / 5,
    'distinct_2': 2 / 5,
    'words': 5 / 3,
  }


def test_a_result_holds_everything():
  found = text.text_metrics(GENERATED, REFERENCES)
  assert found['n'] == 4 and found['empty_share'] == 0.25
  each = text.example_rouge(GENERATED, REFERENCES)
  assert each['rouge_l'][1] == 100 and each['rouge_l'][3] == 0
  assert found['rouge_l'] == pytest.approx(each['rouge_l'].mean())
  assert found['bleu_4'] == text.bleu(GENERATED, REFERENCES)[0]['bleu_4']
  assert 0 < found['distinct_2'] < 1
  assert 'version:' in found['settings']['bleu']
  assert 'version:' in found['settings']['rouge']


def test_the_truth_is_perfect():
  found = text.text_metrics(REFERENCES, REFERENCES)
  for name in ('bleu_1', 'bleu_4', 'rouge_1', 'rouge_l'):
    assert found[name] == pytest.approx(100)


def test_names_the_extra_of_a_missing_library(monkeypatch):
  monkeypatch.setitem(sys.modules, 'sacrebleu', None)
  with pytest.raises(GenrecError, match=r'sacrebleu.*genrec_jax\[text\]'):
    text.bleu(GENERATED, REFERENCES)


def test_the_base_package_needs_no_library_of_the_extra():
  script = """
import sys
for name in ('nltk', 'rouge_score', 'sacrebleu', 'sklearn'):
  sys.modules[name] = None
import genrec_jax.baselines.texts
import genrec_jax.evaluation.explanation
import genrec_jax.evaluation.output_parser
import genrec_jax.evaluation.rating
"""
  subprocess.run([sys.executable, '-c', script], check=True)


@pytest.mark.parametrize('measure', [text.bleu, text.example_rouge])
def test_refuses_texts_without_references(measure):
  with pytest.raises(GenrecError, match='2 texts and 1 references'):
    measure(['a', 'b'], ['a'])
  with pytest.raises(GenrecError, match='0 texts'):
    measure([], [])
