"""Which directories are runs, and what they are called."""

from genrec_jax.reporting import run_records


def test_runs_are_found_within_others_and_not_among_their_files(tmp_path):
  for name in (
    'study/dataset',
    'study/evaluation/validation/baselines',
    'study/arm/seed_0/tokens',
    'study/arm/seed_1/evaluation',
    'study/.arm/seed_2/tokens',
    'notes',
  ):
    (tmp_path / name).mkdir(parents=True)
  found = run_records.find_runs([tmp_path, tmp_path / 'study' / 'arm'])
  assert [str(path.relative_to(tmp_path)) for path in found] == [
    'study',
    'study/arm/seed_0',
    'study/arm/seed_1',
  ]


def test_runs_are_told_apart_by_the_fewest_folders(tmp_path):
  def names(*paths):
    return list(run_records.short_names([tmp_path / path for path in paths]))

  assert names('a/x', 'b/y') == ['x', 'y']
  assert names('one/seed_0/run', 'two/seed_0/run') == [
    'one/seed_0/run',
    'two/seed_0/run',
  ]
  assert names('a', 'a') == ['a']
  assert names() == []
