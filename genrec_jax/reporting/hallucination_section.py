"""What answers say that is not so, as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrec_jax.reporting.figures import kinds_of_ids
from genrec_jax.reporting.hallucination_tables import hallucination_tables


def hallucination_section(result: Mapping[str, Any]) -> dict[str, Any] | None:
  """Returns tables and figures; None of a result that does not have them."""
  tables = hallucination_tables(result)
  if not tables:
    return None
  figures = []
  if 'items' in result['hallucination']:
    figures.append(kinds_of_ids(result['hallucination']['items']['rows']))
  return {'tables': tables, 'figures': figures}
