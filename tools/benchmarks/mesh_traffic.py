"""Counts what a compiled program computes and sends, loops included.

The compiler's own `cost_analysis` counts the body of a loop once, and a
scanned model is one; so the text of the optimized program is read, with the
trip counts that it states.
"""

import collections
import dataclasses
import math
import re

BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's64': 8, 'f64': 8}
COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)
_INSTRUCTION = re.compile(
  r'^\s*(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$'
)
_CALLED = re.compile(
  r'(?:calls|to_apply|body|condition|true_computation|false_computation)'
  r'=%?([\w.-]+)'
)


@dataclasses.dataclass
class Traffic:
  """Of one device and step.

  Attributes:
    flops: of matrix products.
    sent: bytes a device sends, by collective and size of the group.
  """

  flops: float
  sent: dict[str, float]


def shapes_of(text: str) -> list[tuple[str, list[int]]]:
  """Returns the types and shapes in a type of the program's text."""
  return [
    (kind, [int(size) for size in sizes.split(',') if size])
    for kind, sizes in re.findall(r'\b([a-z]+\d*)\[([\d,]*)\]', text)
  ]


def num_bytes(text: str) -> int:
  """Returns the bytes of a type, or of a tuple of types."""
  return sum(BYTES.get(k, 4) * math.prod(s) for k, s in shapes_of(text))


def group_size(rest: str) -> int:
  """Returns how many devices take part in a collective."""
  iota = re.search(r'replica_groups=\[(\d+),(\d+)\]', rest)
  if iota:
    return int(iota[2])
  named = re.search(r'replica_groups=mesh\[(.*?)\] \{(.*?)\}', rest)
  if named:
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r'\w+', named[2]))
  listed = re.search(r'replica_groups=\{\{([\d,]+)\}', rest)
  return len(listed[1].split(',')) if listed else 1


def bytes_sent(operation: str, result: int, group: int) -> float:
  """Returns the bytes that a device sends in a collective, on a ring."""
  share = (group - 1) / group
  if operation == 'all-reduce':  # a scattered sum, then a gathering
    return 2 * share * result
  if operation == 'reduce-scatter':  # the result is a part
    return (group - 1) * result
  if operation == 'collective-permute':
    return result
  return share * result


def count(program: str) -> Traffic:
  """Returns what one device does in one run of an optimized HLO program."""
  bodies, entry, current = {}, None, None
  for line in program.splitlines():
    header = re.match(r'^(ENTRY )?%?([\w.-]+) \(.*\{$', line)
    if header:
      current = bodies.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    elif current is not None and (match := _INSTRUCTION.match(line)):
      current.append(match.groups())
  flops, sent = 0.0, collections.Counter()
  waiting = [(entry, 1)]
  while waiting:
    name, times = waiting.pop()
    types = {result: text for result, text, _, _ in bodies[name]}
    for _, text, operation, rest in bodies[name]:
      collective = operation.removesuffix('-start')
      if collective in COLLECTIVES:
        group = group_size(rest)
        moved = bytes_sent(collective, num_bytes(text), group)
        sent[f'{collective} over {group}'] += times * moved
        continue
      if operation == 'dot':
        left = re.search(r'%([\w.-]+)', rest)[1]
        axes = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', rest)[1]
        ((_, sizes),) = shapes_of(types[left])
        depth = math.prod(sizes[int(axis)] for axis in axes.split(',') if axis)
        ((_, result),) = shapes_of(text)
        flops += times * 2.0 * math.prod(result) * depth
      trips = re.search(r'known_trip_count":\{"n":"(\d+)"', rest)
      for called in _CALLED.findall(rest):
        waiting.append((called, times * int(trips[1]) if trips else times))
  return Traffic(flops, dict(sent))
