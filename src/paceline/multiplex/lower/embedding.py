"""Look-ups in a table of each tenant."""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.linear import give_rows
from paceline.multiplex.lower.rule import Rule
from paceline.multiplex.lower.writer import Writer
from paceline.multiplex.op import Op, Value, Weight


def _write(w: Writer, op: Op, first: int, variant: str) -> bool:
    """By ``gather``, which refuses a number outside of the tenant's own table: in one long table it would hit another's."""
    table, ids = op.args[:2]
    if not isinstance(table, Weight) or not isinstance(ids, Value):
        return False
    split = w.get(ids.index, Form.SPLIT)
    flat = w.call(Tensor.reshape, split, (w.num_tenants, -1, 1), shares=split)
    tables = w.group.every(table.name)  # [R, V, d]
    places = w.call(Tensor.expand, flat, (-1, -1, tables.shape[2]), shares=flat)
    give_rows(w, first, w.call(torch.gather, tables, 1, places))
    return True


EMBEDDING_RULE = Rule(_write)
