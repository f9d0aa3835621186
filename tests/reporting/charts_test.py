import re

import numpy as np
import pytest

from genrec_jax.reporting import charts, drawing


def test_ticks_are_round_and_within():
  assert drawing.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
  assert drawing.ticks(0.031, 0.094) == [0.04, 0.06, 0.08]
  assert drawing.ticks(-3, 12) == [0, 5, 10]
  assert drawing.ticks(5, 5) == [5]


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


def numbers(pattern, drawn):
  return [tuple(map(float, found)) for found in re.findall(pattern, drawn)]


def test_a_spot_lies_within_its_intervals():
  spots = {
    'a': [charts.Spot(1.0, 4.0, 'one', (0.0, 4.0), (4.0, 8.0))],
    'b': [charts.Spot(2.0, 6.0, 'two')],
  }
  drawn = charts.scatter_chart(
    spots, title='t', x_title='x', y_title='y', dotted={'no': [(0, 0)]}
  )
  (x, y), (other_x, other_y) = numbers(r'<circle cx="(.+?)" cy="(.+?)"', drawn)
  # The line across and the line up of the first.
  cross = r'M([\d.]+) ([\d.]+)H([\d.]+)M([\d.]+) ([\d.]+)V([\d.]+)'
  left, across, right, up, bottom, top = numbers(cross, drawn)[0]
  assert (across, up, bottom) == (y, x, y)
  assert (x - left) / (right - left) == pytest.approx(1 / 4, abs=0.01)
  assert (other_x - left) / (right - left) == pytest.approx(1 / 2, abs=0.01)
  assert (bottom - other_y) / (bottom - top) == pytest.approx(1 / 2, abs=0.01)
  assert '<title>one: 1, 4</title>' in drawn and '<polyline' in drawn


def test_shares_of_a_whole_lie_side_by_side():
  rows = {'free': {'an item': 0.75, 'none': 0.25}, 'trie': {'an item': 1.0}}
  drawn = charts.share_chart(rows, title='t', x_title='x')
  bars = numbers(
    r'<rect class="[^"]*" x="(.+?)" y="(.+?)" width="(.+?)"', drawn
  )
  (start, y, width), (after, beside, rest), (begin, under, whole) = bars
  assert start == begin and y == beside < under
  assert after == pytest.approx(start + width, abs=0.1)
  assert (width / whole, rest / whole) == pytest.approx((0.75, 0.25), abs=0.01)
  assert 'none: 25 %' in drawn


def test_a_map_keeps_distances():
  places = np.array([[0, 0], [3, 0], [3, 4], [0, 1]])
  drawn = charts.map_chart(places, ['red'] * 4, list('abcd'), title='t')
  found = np.array(numbers(r'<circle cx="(.+?)" cy="(.+?)"', drawn))
  apart = np.linalg.norm(found[1:] - found[:-1], axis=1)
  np.testing.assert_allclose(apart / apart[0], [1, 4 / 3, 18**0.5 / 3], 0.01)
  assert found[2, 1] < found[1, 1]  # up is up
  assert found.min() > 0 and '<title>d</title>' in drawn


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
  spots = charts.scatter_chart(
    {bad: [charts.Spot(0, 0, bad)]}, title=bad, x_title=bad, y_title=bad
  )
  shares = charts.share_chart({bad: {bad: 1.0}}, title=bad, x_title=bad)
  places = charts.map_chart(np.eye(2), ['red'] * 2, [bad] * 2, title=bad)
  for drawn in (lines, marks, spots, shares, places):
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
  assert charts.scatter_chart({'a': []}, y_title='y', **nothing) == ''
  assert charts.share_chart({}, **nothing) == ''
  assert charts.map_chart(np.zeros((0, 2)), [], [], title='t') == ''
