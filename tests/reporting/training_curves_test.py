from genrec_jax.reporting import training_curves

ROWS = [
  {'step': 100, 'split': 'train', 'loss': 3.0},
  {'step': 100, 'split': 'validation', 'a/n': 9, 'a/mae': 0.5, 'a/rmse': 1.0},
  {'step': 200, 'split': 'train', 'loss': None},
  {'step': 200, 'split': 'validation', 'a/rmse': 0.75, 'log_likelihood': -2.0},
]


def test_points_are_what_was_logged_of_the_part():
  assert training_curves.logged(ROWS, 'train', 'loss') == [(100, 3.0)]
  points = training_curves.logged(ROWS, 'validation', 'a/rmse')
  assert points == [(100, 1.0), (200, 0.75)]


def test_the_usual_metrics_come_first_and_counts_are_none():
  found = training_curves.watched_metrics(ROWS)
  assert found == ['a/rmse', 'log_likelihood', 'a/mae']


def test_a_run_without_a_log_has_no_curve():
  assert training_curves.curve({'run': []}, 'title', 'loss') == ''
