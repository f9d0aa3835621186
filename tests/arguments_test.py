"""Values are held against the types of the arguments that they are for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import pytest

from genrec_jax import arguments
from genrec_jax.types import GenrecError, PathLike


@pytest.mark.parametrize(
  'value, hint',
  [
    (3, int),
    (3, float),
    (None, int | None),
    ('a', PathLike),
    ((1, 2), Sequence[int]),
    ([('a', None)], tuple[tuple[str, str | None], ...]),
    ({'a': 1}, Mapping[str, float]),
    ('first', Literal['first', 'last']),
    (lambda: 0, Callable[..., int]),
    ([len, 'a'], Sequence[Callable | str]),
  ],
)
def test_what_fits_a_type(value, hint):
  assert arguments.fits(value, hint)


@pytest.mark.parametrize(
  'value, hint, expected',
  [
    ('3', int, 'a whole number'),
    (3.0, int, 'a whole number'),
    (True, int, 'a whole number'),
    (1, bool, 'True or False'),
    ([1], int | None, 'a whole number or None'),
    (3, PathLike | None, 'a path or None'),
    ('abc', Sequence[str], 'a list, each entry a string'),
    (['a'], Sequence[int], 'a list, each entry a whole number'),
    ({'a': 'b'}, Mapping[str, float], 'a dictionary'),
    ('middle', Literal['first', 'last'], "one of 'first', 'last'"),
    ('len', Callable[..., int], 'a function (@NAME)'),
  ],
)
def test_what_does_not_fit_is_named(value, hint, expected):
  with pytest.raises(GenrecError) as raised:
    arguments.check('NAME', value, hint)
  assert str(raised.value) == f'Got NAME = {value!r}, expected {expected}.'


def test_a_flag_is_read_as_what_its_argument_takes():
  def command(*, run_dir, name: str, top_k: int, of: Sequence[PathLike] = ()):
    del run_dir, name, top_k, of

  def read(name, text):
    return arguments.read_flag('command', command, name, text)

  assert read('name', '2024') == '2024'
  assert read('top_k', '5') == 5
  assert read('of', 'a/b') == ('a/b',)
  assert read('of', "['a', 'b']") == ['a', 'b']
  assert read('of', 'a/b,c') == ('a/b', 'c')
  assert read('of', 'name=Home, Kitchen') == ('name=Home, Kitchen',)
  with pytest.raises(GenrecError, match="--top_k = 'five', expected a whole"):
    read('top_k', 'five')
  with pytest.raises(GenrecError, match='did you mean top_k'):
    read('topk', '5')
