"""Claims are found, and those that no item has are counted."""

import numpy as np
import pytest

from genrec_jax.evaluation.claims import ClaimVocabulary, claim_metrics
from genrec_jax.types import GenrecError

KNOWN = [
  ['Hair Care', 'Dove'],
  ['Hair', 'Oil-Free', 'Argan shampoo of one'],
  ['S', '80', 'Dove'],
]
VOCABULARY = ClaimVocabulary(
  {name for names in KNOWN for name in names[:2]} | {'', 'One'},
  KNOWN,
  ignore={'one'},
)


def test_names_are_what_can_be_claimed():
  assert VOCABULARY.phrases == {
    ('hair', 'care'),
    ('dove',),
    ('hair',),
    ('oil', 'free'),
  }


@pytest.mark.parametrize(
  ('text', 'claims'),
  [
    ('A DOVE for my hair.', ['dove', 'hair']),
    ('hair care, not hair', ['hair care', 'hair']),
    ('Oil-free! oil free', ['oil free']),
    ('doves are hairy, 80 of one size S', []),
    ('İ dove', ['dove']),  # longer in lower case
    ('', []),
  ],
)
def test_claims_are_whole_words_and_the_longest(text, claims):
  assert [' '.join(c) for c in VOCABULARY.claims(text)] == claims


def test_names_of_items_claim_nothing():
  text = 'İ take Dove Hair, with dove'
  start = text.index('Dove')
  spared = [(start, start + len('Dove Hair'))]
  assert VOCABULARY.claims(text, spared) == [('dove',)]
  assert VOCABULARY.claims(text[: start + 9], spared) == []


def test_what_is_known_of_an_item_holds():
  assert VOCABULARY.holds(('hair',), [0])  # of its hair care
  assert not VOCABULARY.holds(('hair', 'care'), [1])
  assert not VOCABULARY.holds(('dove',), [1])
  assert VOCABULARY.holds(('dove',), [1, 2])


def test_planted_claims_are_counted():
  texts = ['Dove hair', 'hair and oil free', 'nothing', 'Dove, hair care']
  found = claim_metrics(texts, [[0], [0], [1], [2]], VOCABULARY, np.arange(4))
  # Of 6 claims, 'oil free' of item 0 and 'hair care' of item 2 are false.
  assert found['claims'] == 6 / 4
  assert found['false_claims']['mean'] == pytest.approx(2 / 6)
  assert found['any_false']['mean'] == 2 / 4
  assert found['examples'] == [
    {'text': texts[1], 'claim': 'oil free'},
    {'text': texts[3], 'claim': 'hair care'},
  ]


def test_texts_without_claims_have_no_share():
  found = claim_metrics(['', 'words'], [[0], [1]], VOCABULARY, np.arange(2))
  assert found['false_claims']['mean'] is None
  assert found['any_false']['mean'] == 0


def test_what_cannot_be_measured_is_refused():
  with pytest.raises(GenrecError, match='None of the 2 names'):
    ClaimVocabulary(['S', '2020'], KNOWN)
  with pytest.raises(GenrecError, match='1 texts and items for 2'):
    claim_metrics(['text'], [[0], [1]], VOCABULARY, np.arange(1))
