"""Pictures of IDs, of probabilities and of what answers are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup

from genrec_jax.evaluation.hallucination import KINDS
from genrec_jax.reporting import charts


def id_space(
  positions: Float[np.ndarray, 'N 2'],
  codes: Int[np.ndarray, 'N L'],
  names: Sequence[str],
  title: str = 'Items by the first code of their IDs',
) -> Markup:
  """Draws items on a plane, coloured by the first code of their IDs.

  Args:
    positions: where.
    codes: -1 after the end of an id.
    names: shown where one points.
    title: of the picture.
  """
  told = [
    f'{name}, codes {" · ".join(str(one) for one in code if one >= 0)}'
    for name, code in zip(names, codes)
  ]
  return charts.map_chart(positions, _colours(codes[:, 0]), told, title=title)


def beside_control(tables: Sequence[Mapping[str, Any]]) -> list[Markup]:
  """Draws the columns `ids` and `shuffled` of tables, a picture each.

  Args:
    tables: with 'title', 'columns' and 'rows' of a 'name' and 'values'.
  """
  return [
    charts.interval_chart(
      {
        row['name']: [
          charts.Mark(column, row['values'][table['columns'].index(column)])
          for column in ('ids', 'shuffled')
        ]
        for row in table['rows']
      },
      title=table['title'],
      x_title='share',
      write=charts.write_percent,
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
  return charts.line_chart(
    lines,
    title='Items of each code',
    x_title='codes, the most used first',
    y_title='items of the code',
  )


def reliability_diagram(
  curves: Mapping[str, Sequence[Mapping[str, float]]],
) -> Markup:
  """Draws what came true against what was said, a line an event.

  Args:
    curves: by event, bins with the means 'probability' and 'outcome' and the
      number of their examples 'n'.
  """
  spots: dict[str, list[charts.Spot]] = {}
  for event, bins in curves.items():
    for one in bins:
      came = one['outcome']
      # Two standard errors of a share, so that small bins do not mislead.
      error = 2 * np.sqrt(came * (1 - came) / one['n'])
      spots.setdefault(event, []).append(
        charts.Spot(
          one['probability'],
          came,
          f'{event} ({one["n"]:,.0f} examples)',
          y_ends=(max(came - error, 0.0), min(came + error, 1.0)),
        )
      )
  said = [spot.x for of in spots.values() for spot in of]
  return charts.scatter_chart(
    spots,
    title='What came true of what was said',
    x_title='probability said',
    y_title='share come true',
    dotted={'calibrated': [(end, end) for end in (0.0, max(said, default=1))]},
    joined=True,
  )


def change_and_loss(
  points: Mapping[str, Sequence[Mapping[str, Any]]],
  *,
  change: str,
  loss: str,
) -> Markup:
  """Draws what is lost of accuracy against how far answers change.

  Above the line of 0 a change costs accuracy: what was changed personalised.
  On it, what was changed moved the answers and helped nobody: it biased them.

  Args:
    points: by series, points with a 'label' and the means 'x' and 'y', each a
      mapping of 'mean', 'low' and 'high'.
    change: what x is.
    loss: what y is.
  """
  spots = {
    series: [
      charts.Spot(
        point['x']['mean'],
        point['y']['mean'],
        point['label'],
        x_ends=(point['x']['low'], point['x']['high']),
        y_ends=(point['y']['low'], point['y']['high']),
      )
      for point in of
    ]
    for series, of in points.items()
  }
  ends = [spot.x_ends[1] for of in spots.values() for spot in of]
  return charts.scatter_chart(
    spots,
    title='Bias and personalisation',
    x_title=change,
    y_title=loss,
    dotted={'nothing lost': [(0.0, 0.0), (max(ends, default=1.0), 0.0)]},
  )


def kinds_of_ids(rows: Mapping[str, Mapping[str, Any]]) -> Markup:
  """Draws what each way of decoding writes: items, and what is none.

  Args:
    rows: by way of decoding, the mean of 'no_item' and the shares of 'kinds'.
  """
  written = {}
  for name, row in rows.items():
    if row['no_item']['mean'] is None:
      continue
    shares = {kind.replace('_', ' '): row['kinds'][kind] for kind in KINDS}
    written[name] = {
      'an item': 1 - row['no_item']['mean'],
      **{kind: share for kind, share in shares.items() if share},
    }
  return charts.share_chart(
    written, title='What is written', x_title='share of what is written'
  )


def plane(
  vectors: Float[np.ndarray, 'N D'], *, seed: int = 0
) -> Float[np.ndarray, 'N 2']:
  """Lays vectors out on a plane by t-SNE, neighbours beside neighbours."""
  from sklearn import manifold

  if len(vectors) < 4:
    return np.pad(vectors, ((0, 0), (0, 2)))[:, :2]
  return manifold.TSNE(
    n_components=2,
    init='pca',
    perplexity=min(30.0, (len(vectors) - 1) / 3),
    random_state=seed,
  ).fit_transform(vectors)


def _colours(numbers: Int[np.ndarray, 'N']) -> list[str]:
  """Returns a colour for each number, different ones for near numbers."""
  return [
    f'hsl({number * 137.508 % 360:.0f},{65 + 20 * (number % 2)}%,'
    f'{(42, 62, 52)[number % 3]}%)'
    for number in numbers.tolist()
  ]
