import pathlib

from genrec_jax import report


def test_compared_runs_are_told_apart_by_the_fewest_folders(tmp_path):
  def names(*paths):
    return list(report._short_names([tmp_path / path for path in paths]))

  assert names('a/x', 'b/y') == ['x', 'y']
  assert names('one/seed_0/run', 'two/seed_0/run') == [
    'one/seed_0/run',
    'two/seed_0/run',
  ]
  assert names('a/run', 'b/run', 'c') == [
    'a/run',
    'b/run',
    f'{tmp_path.name}/c',
  ]
  assert names('a', 'a') == ['a']
  assert names() == []
  assert report._short_names(['a'])['a'] == pathlib.Path('a').resolve()
