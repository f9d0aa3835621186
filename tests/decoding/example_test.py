"""The examples of docs/decoding.md run, and find what they say."""

import pathlib
import runpy

EXAMPLES = pathlib.Path(__file__).parents[2] / 'examples'


def _run(name, capsys):
  runpy.run_path(str(EXAMPLES / f'{name}.py'), run_name='__main__')
  return capsys.readouterr().out.splitlines()


def test_the_search_over_a_catalogue_runs_to_its_end(capsys):
  lines = _run('decode_catalogue', capsys)
  assert lines[1].startswith('of the ten best of all, the beams found')
  in_category, after = (
    [int(item) for item in lines[row].partition('[')[2].strip(']').split()]
    for row in (2, 3)
  )
  assert all(item % 5 == 0 for item in in_category + after)
  assert not set(after) & set(range(100))
  assert lines[-1].startswith('saved 10000 items')


def test_the_decoding_of_texts_runs_to_its_end(capsys):
  lines = _run('decode_text', capsys)
  assert [line.partition(':')[0] for line in lines[:5]] == [
    'greedy',
    'beams',
    'drawn',
    'expected stars',
    'probability of yes',
  ]
  with_trie, without = (line.split() for line in lines[5:])
  assert (
    int(with_trie[3]) > 10 and with_trie[5:] == '0% of them invented'.split()
  )
  assert int(without[3]) > 10 and without[5] != '0%'
