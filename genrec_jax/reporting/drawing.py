"""What pictures are drawn of: axes, lines, names, a frame with its legend."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

COLOURS = 8  # of the stylesheet; further series are dashed
WIDTH = 460
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 40  # about what has two axes

Points = Sequence[tuple[float, float]]


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


@dataclasses.dataclass(frozen=True)
class Axis:
  """From numbers to places.

  Attributes:
    low: the number at its start.
    high: the number at its end.
    start: a place of the picture.
    stop: another.
  """

  low: float
  high: float
  start: float
  stop: float

  @classmethod
  def of(
    cls,
    values: Sequence[float],
    span: tuple[float, float] | None,
    start: float,
    stop: float,
  ) -> Axis:
    """Returns the axis of a span; without one, that holds all values."""
    low, high = span or (min(values), max(values))
    if not high > low:
      low, high = low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9
    if span is None:
      margin = (high - low) * 0.04
      low, high = low - margin * (low != 0), high + margin
    return cls(low, high, start, stop)

  def __call__(self, value: float) -> float:
    """Returns the place of a number."""
    share = (value - self.low) / (self.high - self.low)
    return self.start + share * (self.stop - self.start)

  def ticks(self) -> list[float]:
    """Returns the numbers that are written beside it."""
    return ticks(self.low, self.high)


def draw_axes(
  x_axis: Axis,
  y_axis: Axis,
  height: float,
  x_title: str,
  y_title: str,
  write_x: Callable[[float], str],
  write_y: Callable[[float], str],
) -> list[Markup]:
  """Returns two axes with their numbers and titles."""
  parts = []
  for tick in y_axis.ticks():
    y = y_axis(tick)
    parts.append(grid(LEFT, y, WIDTH - RIGHT, y))
    parts.append(text(LEFT - 6, y + 4, write_y(tick), 'end'))
  for tick in x_axis.ticks():
    parts.append(
      number_below(x_axis(tick), height - BOTTOM + 16, write_x(tick))
    )
  middle = (LEFT + WIDTH - RIGHT) / 2
  parts.append(text(middle, height - 6, x_title, 'middle', 'name'))
  parts.append(
    Markup(
      '<text class="name" transform="translate(12 {:.0f}) rotate(-90)"'
      ' text-anchor="middle">{}</text>'
    ).format((TOP + height - BOTTOM) / 2, y_title)
  )
  return parts


def draw_scale(
  axis: Axis, bottom: float, title: str, write: Callable[[float], str]
) -> list[Markup]:
  """Returns a horizontal axis alone, with its grid from the top to `bottom`."""
  parts = []
  for tick in axis.ticks():
    parts.append(grid(axis(tick), TOP, axis(tick), bottom))
    parts.append(number_below(axis(tick), bottom + 15, write(tick)))
  return [*parts, text(WIDTH / 2, bottom + BOTTOM - 8, title, 'middle', 'name')]


def polyline(points: Points, x_axis: Axis, y_axis: Axis, name: str) -> Markup:
  """Returns a line through points, of a class of the stylesheet."""
  places = ' '.join(f'{x_axis(x):.1f},{y_axis(y):.1f}' for x, y in points)
  return Markup('<polyline class="{}" points="{}"/>').format(name, places)


def grid(x1: float, y1: float, x2: float, y2: float) -> Markup:
  """Returns a line of the grid."""
  return Markup('<path class="grid" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(
    x1, y1, x2, y2
  )


def text(x: float, y: float, said: str, anchor: str, name: str = '') -> Markup:
  """Returns words at a place, of a class of the stylesheet."""
  return Markup(
    '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
  ).format(name, x, y, anchor, said)


def number_below(x: float, y: float, said: str) -> Markup:
  """Returns the number of a tick, within the picture where it is the last."""
  last = x > WIDTH - RIGHT - 3 * len(said)
  return text(WIDTH - 1 if last else x, y, said, 'end' if last else 'middle')


def figure(
  title: str,
  parts: Sequence[Markup],
  height: float,
  series: Sequence[str],
  references: Sequence[str],
) -> Markup:
  """Returns a picture with its title and its legend."""
  keys = [
    Markup('<li class="{}">{}</li>').format(series_class(number), name)
    for number, name in enumerate(series)
  ] + [Markup('<li class="reference">{}</li>').format(n) for n in references]
  return Markup(
    '<figure class="chart"><figcaption>{}</figcaption>'
    '<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    '<ul class="legend">{}</ul></figure>'
  ).format(
    title, WIDTH, height, title, Markup('').join(parts), Markup('').join(keys)
  )


def series_class(number: int) -> str:
  """Returns the class of the stylesheet that colours a series."""
  dashed = ' dashed' * (number // COLOURS % 2)
  return f'series s{number % COLOURS}{dashed}'
