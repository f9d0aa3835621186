"""Pictures drawn as SVG within a page.

They need no script, take their colours from the page (light or dark), and are
as small as what they show. Every mark tells its numbers where one points at it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from markupsafe import Markup

COLOURS = 8  # of the stylesheet; further series are dashed
MOST_POINTS = 200  # of a line
_WIDTH = 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 40
_ROW = 14  # the height of a mark with its interval

Points = Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Mark:
  """A mean with its interval.

  Attributes:
    series: what it is of.
    mean: the place of its dot.
    low: lower end, None where there is no interval.
    high: upper end.
    n: examples.
  """

  series: str
  mean: float
  low: float | None = None
  high: float | None = None
  n: int | None = None


def write_number(value: float) -> str:
  """Returns a number as marks and axes have it: four digits."""
  return f'{value:,.4g}' if abs(value) < 1e5 else f'{value:,.0f}'


def write_percent(value: float) -> str:
  """Returns a share in hundredths."""
  return f'{100 * value:.4g} %'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
  """Returns round numbers from `low` to `high`, about `count` of them."""
  if not high > low:
    return [low]
  rough = (high - low) / count
  power = 10.0 ** math.floor(math.log10(rough))
  step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
  first = math.ceil(low / step - 1e-9)
  last = math.floor(high / step + 1e-9)
  return [round(place * step, 12) for place in range(first, last + 1)]


def line_chart(
  lines: Mapping[str, Points],
  *,
  title: str,
  x_title: str,
  y_title: str,
  write_x: Callable[[float], str] = write_number,
  write_y: Callable[[float], str] = write_number,
  x_range: tuple[float, float] | None = None,
  y_range: tuple[float, float] | None = None,
  dotted: Mapping[str, Points] | None = None,
  dots: bool = True,
) -> Markup:
  """Draws lines, such as a metric against the step.

  Args:
    lines: points (x, y) by what they are of, in the order of x.
    title: what the picture shows.
    x_title: of the horizontal axis.
    y_title: of the vertical axis.
    write_x: writes a number of that axis.
    write_y: writes a number of that axis.
    x_range: ends of the axis; by default those of the points.
    y_range: the same.
    dotted: lines to compare with, drawn in grey.
    dots: whether points are drawn, that tell their numbers.

  Returns:
    A <figure>; '' where there are no points.
  """
  dotted = dotted or {}
  lines = {name: _thin(points) for name, points in lines.items()}
  points = [p for of in (*lines.values(), *dotted.values()) for p in of]
  if not points:
    return Markup('')
  height = 260
  x_axis = _Axis.of([x for x, _ in points], x_range, _LEFT, _WIDTH - _RIGHT)
  y_axis = _Axis.of([y for _, y in points], y_range, height - _BOTTOM, _TOP)
  parts = _axes(x_axis, y_axis, height, x_title, y_title, write_x, write_y)
  for number, (name, line) in enumerate(lines.items()):
    parts.append(_polyline(line, x_axis, y_axis, _series(number)))
    parts += [
      Markup(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title>'
        '</circle>'
      ).format(
        _series(number),
        x_axis(x),
        y_axis(y),
        3 if len(line) <= 30 else 1.5,
        f'{name}: {y_title} {write_y(y)} at {x_title} {write_x(x)}',
      )
      for x, y in (line if dots else ())
    ]
  for line in dotted.values():
    parts.append(_polyline(line, x_axis, y_axis, 'reference'))
  return _figure(title, parts, height, [*lines], [*dotted])


def interval_chart(
  rows: Mapping[str, Sequence[Mark]],
  *,
  title: str,
  x_title: str,
  write: Callable[[float], str] = write_number,
  from_zero: bool = True,
) -> Markup:
  """Draws means with their intervals, one line of the picture for each.

  Args:
    rows: marks by group; those of a series have one colour in all groups.
    title: what the picture shows.
    x_title: what the means are of.
    write: writes a mean.
    from_zero: whether the axis begins at 0.

  Returns:
    A <figure>; '' where there are no marks.
  """
  marks = [mark for of_row in rows.values() for mark in of_row]
  if not marks:
    return Markup('')
  series = list(dict.fromkeys(mark.series for mark in marks))
  ends = [e for m in marks for e in (m.mean, m.low, m.high) if e is not None]
  label, left = 16, 12
  tops, height = [], _TOP
  for of_row in rows.values():
    tops.append(height)
    height += label + _ROW * len(of_row) + 6
  bottom = height
  height += _BOTTOM - 4
  span = (0.0, 1.03 * max(ends)) if from_zero and min(ends) >= 0 else None
  axis = _Axis.of(ends, span, left, _WIDTH - _RIGHT)
  parts = []
  for tick in axis.ticks():
    parts.append(_grid(axis(tick), _TOP, axis(tick), bottom))
    parts.append(_below(axis(tick), bottom + 15, write(tick)))
  parts.append(_text((_WIDTH) / 2, height - 4, x_title, 'middle', 'name'))
  for top, (name, of_row) in zip(tops, rows.items()):
    parts.append(_text(left, top + 12, name, 'start', 'row'))
    for place, mark in enumerate(of_row):
      y = top + label + _ROW * (place + 0.5)
      parts.append(_interval(mark, axis, y, series.index(mark.series), write))
  return _figure(title, parts, height, series, [])


def beside_control(tables: Sequence[Mapping[str, Any]]) -> list[Markup]:
  """Draws the columns `ids` and `shuffled` of tables, a picture each.

  Args:
    tables: with 'title', 'columns' and 'rows' of a 'name' and 'values'.
  """
  return [
    interval_chart(
      {
        row['name']: [
          Mark(column, row['values'][table['columns'].index(column)])
          for column in ('ids', 'shuffled')
        ]
        for row in table['rows']
      },
      title=table['title'],
      x_title='share',
      write=write_percent,
    )
    for table in tables
  ]


def level_use(codes: Int[np.ndarray, 'N L']) -> Markup:
  """Draws how many items each code of a level has, the most used first."""
  lines = {}
  for level, column in enumerate(codes.T):
    counts = np.sort(np.bincount(column[column >= 0]))[::-1]
    counts = counts[counts > 0]
    lines[f'level {level}'] = list(enumerate(counts.tolist(), start=1))
  return line_chart(
    lines,
    title='Items of each code',
    x_title='codes, the most used first',
    y_title='items of the code',
  )


@dataclasses.dataclass(frozen=True)
class _Axis:
  """From numbers to places."""

  low: float
  high: float
  start: float
  stop: float

  @classmethod
  def of(cls, values, span, start, stop) -> _Axis:
    low, high = span or (min(values), max(values))
    if not high > low:
      low, high = low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9
    if span is None:
      margin = (high - low) * 0.04
      low, high = low - margin * (low != 0), high + margin
    return cls(low, high, start, stop)

  def __call__(self, value: float) -> float:
    share = (value - self.low) / (self.high - self.low)
    return self.start + share * (self.stop - self.start)

  def ticks(self) -> list[float]:
    return ticks(self.low, self.high)


def _axes(x_axis, y_axis, height, x_title, y_title, write_x, write_y):
  parts = []
  for tick in y_axis.ticks():
    y = y_axis(tick)
    parts.append(_grid(_LEFT, y, _WIDTH - _RIGHT, y))
    parts.append(_text(_LEFT - 6, y + 4, write_y(tick), 'end'))
  for tick in x_axis.ticks():
    parts.append(_below(x_axis(tick), height - _BOTTOM + 16, write_x(tick)))
  middle = (_LEFT + _WIDTH - _RIGHT) / 2
  parts.append(_text(middle, height - 6, x_title, 'middle', 'name'))
  parts.append(
    Markup(
      '<text class="name" transform="translate(12 {:.0f}) rotate(-90)"'
      ' text-anchor="middle">{}</text>'
    ).format((_TOP + height - _BOTTOM) / 2, y_title)
  )
  return parts


def _interval(mark, axis, y, number, write) -> Markup:
  told = f'{mark.series}: {write(mark.mean)}'
  line = Markup('')
  if mark.low is not None and mark.high is not None:
    told += f', 95 % interval {write(mark.low)} to {write(mark.high)}'
    line = Markup(
      '<path d="M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {top:.1f}v8'
      'M{high:.1f} {top:.1f}v8"/>'
    ).format(low=axis(mark.low), high=axis(mark.high), y=y, top=y - 4)
  if mark.n is not None:
    told += f', n = {mark.n:,}'
  return Markup(
    '<g class="{}">{}<circle cx="{:.1f}" cy="{:.1f}" r="4"/>'
    '<title>{}</title></g>'
  ).format(_series(number), line, axis(mark.mean), y, told)


def _polyline(points: Points, x_axis, y_axis, name: str) -> Markup:
  places = ' '.join(f'{x_axis(x):.1f},{y_axis(y):.1f}' for x, y in points)
  return Markup('<polyline class="{}" points="{}"/>').format(name, places)


def _grid(x1: float, y1: float, x2: float, y2: float) -> Markup:
  return Markup('<path class="grid" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(
    x1, y1, x2, y2
  )


def _text(x, y, text: str, anchor: str, name: str = '') -> Markup:
  return Markup(
    '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
  ).format(name, x, y, anchor, text)


def _below(x: float, y: float, text: str) -> Markup:
  """Returns the number of a tick, within the picture where it is the last."""
  last = x > _WIDTH - _RIGHT - 3 * len(text)
  return _text(_WIDTH - 1 if last else x, y, text, 'end' if last else 'middle')


def _figure(title, parts, height, series, references) -> Markup:
  keys = [
    Markup('<li class="{}">{}</li>').format(_series(number), name)
    for number, name in enumerate(series)
  ] + [Markup('<li class="reference">{}</li>').format(n) for n in references]
  return Markup(
    '<figure class="chart"><figcaption>{}</figcaption>'
    '<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    '<ul class="legend">{}</ul></figure>'
  ).format(
    title, _WIDTH, height, title, Markup('').join(parts), Markup('').join(keys)
  )


def _series(number: int) -> str:
  dashed = ' dashed' * (number // COLOURS % 2)
  return f'series s{number % COLOURS}{dashed}'


def _thin(points: Points) -> list[tuple[float, float]]:
  """Returns points that lie evenly among many, the last one included."""
  points = [p for p in points if all(math.isfinite(value) for value in p)]
  if len(points) <= MOST_POINTS:
    return points
  kept = np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)
  return [points[place] for place in dict.fromkeys(kept.tolist())]
