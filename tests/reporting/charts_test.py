import re

import pytest

from genrec_jax.reporting import charts


def test_ticks_are_round_and_within():
  assert charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
  assert charts.ticks(0.031, 0.094) == [0.04, 0.06, 0.08]
  assert charts.ticks(-3, 12) == [0, 5, 10]
  assert charts.ticks(5, 5) == [5]


def test_a_line_goes_through_its_points_in_order():
  drawn = charts.line_chart(
    {'one': [(0, 1.0), (100, 3.0), (200, 2.0)]},
    title='t',
    x_title='step',
    y_title='loss',
  )
  (points,) = re.findall(r'<polyline class="[^"]*" points="([^"]*)"', drawn)
  places = [tuple(map(float, one.split(','))) for one in points.split()]
  (x0, y0), (x1, y1), (x2, y2) = places
  assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
  # Up is less; the last is halfway between the others.
  assert y1 < y2 < y0 and y2 == pytest.approx((y0 + y1) / 2, abs=0.2)


def test_an_interval_reaches_to_its_ends():
  marks = {'a': [charts.Mark('m', 0.5, 0.25, 1.0, 7)], 'b': []}
  drawn = charts.interval_chart(marks, title='t', x_title='x')
  dot = float(re.search(r'<circle cx="([\d.]+)"', drawn)[1])
  low, high = map(
    float, re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)M', drawn).groups()
  )
  assert (dot - low) / (high - low) == pytest.approx(1 / 3, abs=0.01)
  assert 'm: 0.5, 95 % interval 0.25 to 1, n = 7' in drawn


def test_names_are_escaped_wherever_they_stand():
  bad = '<script>alert("x")</script>'
  lines = charts.line_chart(
    {bad: [(0, 1), (1, 2)]},
    title=bad,
    x_title=bad,
    y_title=bad,
    dotted={bad: [(0, 0)]},
  )
  marks = charts.interval_chart(
    {bad: [charts.Mark(bad, 1.0, 0.5, 2.0)]}, title=bad, x_title=bad
  )
  for drawn in (lines, marks):
    assert '<script' not in drawn and 'alert("' not in drawn
    assert '&lt;script&gt;' in drawn


def test_long_lines_are_thinned_and_keep_their_ends():
  points = [(step, step % 7) for step in range(5000)] + [(5000, float('nan'))]
  drawn = charts.line_chart({'a': points}, title='t', x_title='x', y_title='y')
  assert drawn.count('<circle') == charts.MOST_POINTS
  assert 'x 4,999' in drawn and 'nan' not in drawn


def test_nothing_to_draw_is_no_picture():
  nothing = {'title': 't', 'x_title': 'x'}
  assert charts.line_chart({'a': []}, y_title='y', **nothing) == ''
  assert charts.interval_chart({}, **nothing) == ''
