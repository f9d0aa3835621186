"""Pictures drawn as SVG within a page.

They need no script, take their colours from the page (light or dark), and are
as small as what they show. Every mark tells its numbers where one points at it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from genrec_jax.reporting import drawing

MOST_POINTS = 200  # of a line
_ROW = 14  # the height of a mark with its interval


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


@dataclasses.dataclass(frozen=True)
class Spot:
  """A place of two means, each with its interval.

  Attributes:
    x: the place.
    y: the place.
    told: what is said of it where one points at it, before its numbers.
    x_ends: lower and upper end, None where there is no interval.
    y_ends: lower and upper end.
  """

  x: float
  y: float
  told: str
  x_ends: tuple[float, float] | None = None
  y_ends: tuple[float, float] | None = None


def write_number(value: float) -> str:
  """Returns a number as marks and axes have it: four digits."""
  return f'{value:,.4g}' if abs(value) < 1e5 else f'{value:,.0f}'


def write_percent(value: float) -> str:
  """Returns a share in hundredths."""
  return f'{100 * value:.4g} %'


def line_chart(
  lines: Mapping[str, drawing.Points],
  *,
  title: str,
  x_title: str,
  y_title: str,
  write_x: Callable[[float], str] = write_number,
  write_y: Callable[[float], str] = write_number,
  x_range: tuple[float, float] | None = None,
  y_range: tuple[float, float] | None = None,
  dotted: Mapping[str, drawing.Points] | None = None,
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
  x_axis = drawing.Axis.of(
    [x for x, _ in points], x_range, drawing.LEFT, drawing.WIDTH - drawing.RIGHT
  )
  y_axis = drawing.Axis.of(
    [y for _, y in points], y_range, height - drawing.BOTTOM, drawing.TOP
  )
  parts = drawing.draw_axes(
    x_axis, y_axis, height, x_title, y_title, write_x, write_y
  )
  for number, (name, line) in enumerate(lines.items()):
    parts.append(
      drawing.polyline(line, x_axis, y_axis, drawing.series_class(number))
    )
    parts += [
      Markup(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title>'
        '</circle>'
      ).format(
        drawing.series_class(number),
        x_axis(x),
        y_axis(y),
        3 if len(line) <= 30 else 1.5,
        f'{name}: {y_title} {write_y(y)} at {x_title} {write_x(x)}',
      )
      for x, y in (line if dots else ())
    ]
  for line in dotted.values():
    parts.append(drawing.polyline(line, x_axis, y_axis, 'reference'))
  return drawing.figure(title, parts, height, [*lines], [*dotted])


def interval_chart(
  rows: Mapping[str, Sequence[Mark]],
  *,
  title: str,
  x_title: str,
  write: Callable[[float], str] = write_number,
  from_zero: bool = True,
  ends: str = '95 % interval',
) -> Markup:
  """Draws means with their intervals, one line of the picture for each.

  Args:
    rows: marks by group; those of a series have one colour in all groups.
    title: what the picture shows.
    x_title: what the means are of.
    write: writes a mean.
    from_zero: whether the axis begins at 0.
    ends: what the low and high ends of a mark are.

  Returns:
    A <figure>; '' where there are no marks.
  """
  marks = [mark for of_row in rows.values() for mark in of_row]
  if not marks:
    return Markup('')
  series = list(dict.fromkeys(mark.series for mark in marks))
  values = [v for m in marks for v in (m.mean, m.low, m.high) if v is not None]
  label, left = 16, 12
  tops, height = [], drawing.TOP
  for of_row in rows.values():
    tops.append(height)
    height += label + _ROW * len(of_row) + 6
  bottom = height
  height += drawing.BOTTOM - 4
  span = None
  if from_zero and min(values) >= 0:
    span = (0.0, 1.03 * max(values))
  axis = drawing.Axis.of(values, span, left, drawing.WIDTH - drawing.RIGHT)
  parts = drawing.draw_scale(axis, bottom, x_title, write)
  for top, (name, of_row) in zip(tops, rows.items()):
    parts.append(drawing.text(left, top + 12, name, 'start', 'row'))
    for place, mark in enumerate(of_row):
      y = top + label + _ROW * (place + 0.5)
      number = series.index(mark.series)
      parts.append(_interval(mark, axis, y, number, write, ends))
  return drawing.figure(title, parts, height, series, [])


def scatter_chart(
  series: Mapping[str, Sequence[Spot]],
  *,
  title: str,
  x_title: str,
  y_title: str,
  write_x: Callable[[float], str] = write_number,
  write_y: Callable[[float], str] = write_number,
  dotted: Mapping[str, drawing.Points] | None = None,
  joined: bool = False,
) -> Markup:
  """Draws spots with their intervals, such as an accuracy against a cost.

  Args:
    series: spots by what they are of.
    title: what the picture shows.
    x_title: of the horizontal axis.
    y_title: of the vertical axis.
    write_x: writes a number of that axis.
    write_y: writes a number of that axis.
    dotted: lines to compare with, drawn in grey.
    joined: whether a line goes through the spots of a series.

  Returns:
    A <figure>; '' where there are no spots.
  """
  dotted = dotted or {}
  spots = [spot for of in series.values() for spot in of]
  if not spots:
    return Markup('')
  compared = [point for line in dotted.values() for point in line]
  height = 300
  xs = [x for spot in spots for x in (spot.x, *(spot.x_ends or ()))]
  ys = [y for spot in spots for y in (spot.y, *(spot.y_ends or ()))]
  x_axis = drawing.Axis.of(
    xs + [x for x, _ in compared],
    None,
    drawing.LEFT,
    drawing.WIDTH - drawing.RIGHT,
  )
  y_axis = drawing.Axis.of(
    ys + [y for _, y in compared], None, height - drawing.BOTTOM, drawing.TOP
  )
  parts = drawing.draw_axes(
    x_axis, y_axis, height, x_title, y_title, write_x, write_y
  )
  for line in dotted.values():
    parts.append(drawing.polyline(line, x_axis, y_axis, 'reference'))
  for number, of in enumerate(series.values()):
    if joined:
      points = [(spot.x, spot.y) for spot in of]
      parts.append(
        drawing.polyline(points, x_axis, y_axis, drawing.series_class(number))
      )
    parts += [
      _spot(spot, x_axis, y_axis, number, write_x, write_y) for spot in of
    ]
  return drawing.figure(title, parts, height, [*series], [*dotted])


def share_chart(
  rows: Mapping[str, Mapping[str, float]], *, title: str, x_title: str
) -> Markup:
  """Draws how each whole is made up, a bar of parts for each.

  Args:
    rows: by whole, the shares of its parts, of 0 to 1 and 1 together.
    title: what the picture shows.
    x_title: what the shares are of.

  Returns:
    A <figure>; '' where there are no rows.
  """
  if not rows:
    return Markup('')
  names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
  left, bar, row = 12, 14, 38
  bottom = drawing.TOP + row * len(rows)
  height = bottom + drawing.BOTTOM - 4
  axis = drawing.Axis(0.0, 1.0, left, drawing.WIDTH - drawing.RIGHT)
  parts = drawing.draw_scale(axis, bottom, x_title, write_percent)
  for place, (name, shares) in enumerate(rows.items()):
    top, start = drawing.TOP + row * place, 0.0
    parts.append(drawing.text(left, top + 12, name, 'start', 'row'))
    for part, share in shares.items():
      parts.append(
        Markup(
          '<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}">'
          '<title>{}</title></rect>'
        ).format(
          drawing.series_class(names.index(part)),
          axis(start),
          top + 18,
          axis(start + share) - axis(start),
          bar,
          f'{part}: {write_percent(share)}',
        )
      )
      start += share
  return drawing.figure(title, parts, height, names, [])


def map_chart(
  positions: Float[np.ndarray, 'N 2'],
  colours: Sequence[str],
  told: Sequence[str],
  *,
  title: str,
) -> Markup:
  """Draws things on a plane, without axes, one unit as long in x as in y.

  Args:
    positions: where each thing lies.
    colours: of each, as CSS has them.
    told: what is said of each where one points at it.
    title: what the picture shows.

  Returns:
    A <figure>; '' where there are no things.
  """
  if not len(positions):
    return Markup('')
  low, high = positions.min(axis=0), positions.max(axis=0)
  scale = (drawing.WIDTH - 12) / max(*(high - low), 1e-9)
  # Up is more, as on a plot.
  places = (positions - low) * scale * (1, -1) + (6, 0)
  height = float((high - low)[1] * scale) + 12
  parts = [
    Markup(
      '<circle cx="{:.1f}" cy="{:.1f}" r="2.5" style="fill:{}"><title>{}'
      '</title></circle>'
    ).format(x, height - 6 + y, colour, text)
    for (x, y), colour, text in zip(places, colours, told)
  ]
  return drawing.figure(title, parts, height, [], [])


def _interval(mark, axis, y, number, write, ends) -> Markup:
  told = f'{mark.series}: {write(mark.mean)}'
  line = Markup('')
  if mark.low is not None and mark.high is not None:
    told += f', {ends} {write(mark.low)} to {write(mark.high)}'
    line = Markup(
      '<path d="M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {top:.1f}v8'
      'M{high:.1f} {top:.1f}v8"/>'
    ).format(low=axis(mark.low), high=axis(mark.high), y=y, top=y - 4)
  if mark.n is not None:
    told += f', n = {mark.n:,}'
  return Markup(
    '<g class="{}">{}<circle cx="{:.1f}" cy="{:.1f}" r="4"/>'
    '<title>{}</title></g>'
  ).format(drawing.series_class(number), line, axis(mark.mean), y, told)


def _spot(spot, x_axis, y_axis, number, write_x, write_y) -> Markup:
  x, y = x_axis(spot.x), y_axis(spot.y)
  left, right = map(x_axis, spot.x_ends or (spot.x, spot.x))
  bottom, top = map(y_axis, spot.y_ends or (spot.y, spot.y))
  told = f'{spot.told}: {write_x(spot.x)}, {write_y(spot.y)}'
  return Markup(
    '<g class="{name}"><path d="M{left:.1f} {y:.1f}H{right:.1f}'
    'M{x:.1f} {bottom:.1f}V{top:.1f}"/>'
    '<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/><title>{told}</title></g>'
  ).format(
    name=drawing.series_class(number),
    left=left,
    right=right,
    bottom=bottom,
    top=top,
    x=x,
    y=y,
    told=told,
  )


def _thin(points: drawing.Points) -> list[tuple[float, float]]:
  """Returns points that lie evenly among many, the last one included."""
  points = [p for p in points if all(math.isfinite(value) for value in p)]
  if len(points) <= MOST_POINTS:
    return points
  kept = np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)
  return [points[place] for place in dict.fromkeys(kept.tolist())]
