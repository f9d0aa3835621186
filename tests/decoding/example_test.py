"""The example of docs/decoding.md runs, and finds what it says."""

import pathlib
import runpy

EXAMPLE = pathlib.Path(__file__).parents[2] / 'examples/decode_catalogue.py'


def test_the_example_runs_to_its_end(capsys):
  runpy.run_path(str(EXAMPLE), run_name='__main__')
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].startswith('of the ten best of all, the beams found')
  in_category, after = (
    [int(item) for item in lines[row].partition('[')[2].strip(']').split()]
    for row in (2, 3)
  )
  assert all(item % 5 == 0 for item in in_category + after)
  assert not set(after) & set(range(100))
  assert lines[-1].startswith('saved 10000 items')
