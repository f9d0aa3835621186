"""Looking up items by their codes: who shares a prefix, who is like whom."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from genrec_jax import artifacts
from genrec_jax.data.dataset import Dataset
from genrec_jax.data.splits import load_split, train_interactions
from genrec_jax.ids import inspection
from genrec_jax.ids.item_ids import ItemIds
from genrec_jax.types import GenrecError, PathLike

NUM_NEIGHBORS = 10
NUM_NAMED = 12  # items of a prefix that are named


@dataclasses.dataclass(frozen=True, eq=False)
class Catalogue:
  """The items of a run, and what is known of them.

  Attributes:
    ids: their ids.
    item_ids: the source's id of each.
    names: the title of each, or its id.
    fields: the attributes of each, by the column that says them.
    neighbors: [N, K], whom each is taken together with; -1 beyond the last.
    user: of each train interaction.
    item: of each train interaction.
    popularity: how many of them each item has.
  """

  ids: ItemIds
  item_ids: Sequence[str]
  names: Sequence[str]
  fields: Mapping[str, inspection.Attributes]
  neighbors: Int[np.ndarray, 'N K']
  user: Int[np.ndarray, 'R']
  item: Int[np.ndarray, 'R']
  popularity: Int[np.ndarray, 'N']

  @classmethod
  def load(cls, run_dir: PathLike, *, seed: int = 0) -> Catalogue:
    """Reads the dataset and the ids of a run.

    Raises:
      GenrecError: if one of them is missing, or they do not belong together.
    """
    directory = pathlib.Path(run_dir)
    dataset = Dataset.load(directory / 'dataset')
    split = load_split(directory / 'dataset', dataset)
    ids = ItemIds.load(directory / 'ids')
    for kind, made in (('dataset', dataset), ('split', split)):
      artifacts.check_input(
        {'kind': 'ids', 'inputs': ids.inputs},
        kind,
        made.fingerprint,
        'run `genrec build_ids` again',
      )
    user, item = train_interactions(dataset, split)
    return cls(
      ids=ids,
      item_ids=dataset.items['item_id'].to_pylist(),
      names=dataset.item_names(),
      fields=attribute_fields(dataset.items),
      neighbors=inspection.nearest_neighbors(
        user, item, dataset.num_items, num_neighbors=NUM_NEIGHBORS, seed=seed
      ),
      user=user,
      item=item,
      popularity=np.bincount(item, minlength=dataset.num_items),
    )

  @property
  def kinds(self) -> Mapping[str, inspection.Attributes]:
    """The attributes by which people are told what items are like."""
    main = {k: v for k, v in self.fields.items() if k == 'attributes'}
    return main or self.fields

  def code(self, row: int) -> str:
    """Returns the codes of an item as text."""
    return ' · '.join(str(code) for code in self.ids.codes[row] if code >= 0)

  def row_of(self, item: str) -> int:
    """Returns the row of the item of a source id."""
    if item in self.item_ids:
      return self.item_ids.index(item)
    near = difflib.get_close_matches(item, self.item_ids, n=3, cutoff=0)
    for name in difflib.get_close_matches(item, self.names, n=3):
      near.append(f'{self.item_ids[self.names.index(name)]} ({name})')
    raise GenrecError(
      f'No item has the id {item!r}; near it are {", ".join(near)}.'
      ' ids/items.tsv of the run lists them all.'
    )

  def rows_of(self, prefix: Sequence[int]) -> Int[np.ndarray, 'n']:
    """Returns the rows of the items whose first codes are these."""
    prefix = np.asarray(prefix)
    num_levels = self.ids.num_levels
    if not 1 <= len(prefix) <= num_levels:
      raise GenrecError(
        f'Got a prefix of {len(prefix)} codes; expected 1 to {num_levels}, for'
        f' ids have {num_levels}.'
      )
    rows = np.arange(self.ids.num_items)
    for level, code in enumerate(prefix):
      found = rows[self.ids.codes[rows, level] == code]
      if not len(found):
        known = np.unique(self.ids.codes[rows, level])
        known = ', '.join(str(one) for one in known[known >= 0][:20])
        before = ' · '.join(map(str, prefix[:level])) or 'nothing'
        raise GenrecError(
          f'No item has the prefix {" · ".join(map(str, prefix))}: after'
          f' {before} comes no {code}; there are {known or "no more codes"}'
          f'{", ..." if known.count(",") == 19 else ""}.'
        )
      rows = found
    return rows


def attribute_fields(items: pa.Table) -> dict[str, inspection.Attributes]:
  """Returns the columns of text that say of what kind the items are.

  That is `attributes`, and every other column of strings or of lists of them
  whose values are had by two items or more on average (no identifiers).
  """
  fields = {}
  for name in items.column_names:
    kind = items.schema.field(name).type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    text = kind.value_type if listed else kind
    if name in ('item_id', 'title') or not (
      pa.types.is_string(text) or pa.types.is_large_string(text)
    ):
      continue
    lists = items[name].to_pylist()
    if not listed:
      lists = [[value] if value else [] for value in lists]
    attributes = inspection.Attributes.of(lists)
    if 0 < 2 * len(attributes.values) <= attributes.has.nnz:
      fields[name] = attributes
  return fields


def describe_prefix(
  catalogue: Catalogue, rows: Int[np.ndarray, 'n'], length: int, kind: str = ''
) -> dict[str, Any]:
  """Says what the items of a prefix have in common, in JSON values.

  Returns:
    prefix: its codes.
    kind: why it is shown.
    num_items: how many items have it.
    inside: the share of their neighbours (`inspection.nearest_neighbors`) that
      have it too; None if they have no neighbours.
    by_chance: what is expected of that under shuffled ids.
    values: for each field what sets the items apart from the catalogue.
    items: those of the most train interactions, by id, name and codes.
  """
  mine = np.zeros(catalogue.ids.num_items, bool)
  mine[rows] = True
  neighbors = catalogue.neighbors[rows]
  real = neighbors >= 0
  shares = (mine[neighbors] & real).sum(axis=1)[real.any(axis=1)]
  shares = shares / real.sum(axis=1)[real.any(axis=1)]
  most = rows[np.argsort(-catalogue.popularity[rows], kind='stable')]
  return {
    'prefix': catalogue.ids.codes[rows[0], :length].tolist(),
    'kind': kind,
    'num_items': len(rows),
    'inside': float(shares.mean()) if len(shares) else None,
    'by_chance': (len(rows) - 1) / max(1, catalogue.ids.num_items - 1),
    'values': {
      name: inspection.telling_values(attributes, rows)
      for name, attributes in catalogue.kinds.items()
    },
    'items': [
      {
        'item_id': catalogue.item_ids[row],
        'name': catalogue.names[row],
        'codes': [
          code for code in catalogue.ids.codes[row].tolist() if code >= 0
        ],
      }
      for row in most[:NUM_NAMED]
    ],
  }


def example_prefixes(
  catalogue: Catalogue, num_examples: int, *, max_length: int = 2, seed: int = 0
) -> list[dict[str, Any]]:
  """Describes prefixes: the largest, and those of items drawn at random.

  Of each length up to `max_length`, and no prefix that one item has alone.
  """
  found = []
  generator = np.random.default_rng(seed)
  groups = inspection.prefix_groups(catalogue.ids.codes)
  for length, group in enumerate(groups[:max_length], start=1):
    ended = catalogue.ids.codes[:, length - 1] < 0
    sizes = np.bincount(group)
    largest = np.argsort(-sizes, kind='stable')[:num_examples]
    drawn = generator.permutation(np.flatnonzero(~ended))
    # The first item of each prefix, in the order in which they were drawn.
    drawn = group[drawn][np.sort(np.unique(group[drawn], return_index=True)[1])]
    drawn = drawn[~np.isin(drawn, largest) & (sizes[drawn] > 1)]
    for kind, numbers in (
      ('among the largest', largest[sizes[largest] > 1]),
      ('of an item drawn at random', drawn[:num_examples]),
    ):
      found += [
        describe_prefix(
          catalogue, np.flatnonzero(group == number), length, kind
        )
        for number in numbers
      ]
  return found


def tell_prefix(described: Mapping[str, Any]) -> str:
  """Returns a described prefix as text."""
  head = f'Prefix {" · ".join(map(str, described["prefix"]))}'
  if described['kind']:
    head += f' ({described["kind"]})'
  head += f': {described["num_items"]:,} items'
  if described['inside'] is not None:
    head += (
      f'; {described["inside"]:.0%} of those they are taken together with have'
      f' it, by chance {described["by_chance"]:.1%}'
    )
  lines = [head]
  for name, values in described['values'].items():
    told = '; '.join(
      f'{value["value"]} {value["share"]:.0%} (x {value["lift"]:.1f})'
      for value in values
    )
    lines.append(f'  {name}: {told or "none more than elsewhere"}')
  for item in described['items']:
    rest = item['codes'][len(described['prefix']) :]
    lines.append(f'  {" · ".join(map(str, rest)):>12}  {item["name"]}')
  left = described['num_items'] - len(described['items'])
  if left:
    lines.append(f'  {"":>12}  and {left:,} more')
  return '\n'.join(lines)


def tell_item(catalogue: Catalogue, row: int, *, num_similar: int = 10) -> str:
  """Returns what an item's id says of it, as text."""
  codes = catalogue.ids.codes
  shared = inspection.shared_codes(codes, row)
  shared[row] = -1
  order = np.lexsort((-catalogue.popularity, -shared))
  together = catalogue.neighbors[row]
  together = together[together >= 0]

  def listed(rows):
    for other in rows:
      mark = '*' if other in together else ' '
      yield (
        f'  {mark} {shared[other]} of {catalogue.code(other)}'
        f'  {catalogue.names[other]}'
      )

  lines = [
    f'Item {catalogue.item_ids[row]}: {catalogue.names[row]}',
    f'  codes {catalogue.code(row)};'
    f' {catalogue.popularity[row]:,} train interactions',
  ]
  for name, attributes in catalogue.fields.items():
    some = attributes.has[[row]].indices
    if len(some):
      lines.append(f'  {name}: {"; ".join(attributes.values[i] for i in some)}')
  for length in range(1, int((codes[row] >= 0).sum()) + 1):
    count = int((shared >= length).sum())
    lines.append(
      f'  {count:,} other items share {length} code{"s" * (length > 1)}'
    )
  lines.append(
    'Nearest by code: how many codes they share (* marks those taken together):'
  )
  lines += listed(order[:num_similar])
  lines.append('Taken together with, the nearest first:')
  lines += listed(together)
  if not len(together):
    lines.append('    no other item in train')
  return '\n'.join(lines)
