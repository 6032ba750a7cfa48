"""Offer torch's optimisers without the import of its compiler.

Their methods are decorated so that `torch.compile` leaves them alone, and the decorators import
the compiler at the first call, which takes as long as torch itself. Runs compile networks, never
optimisers, so that the methods do without.
"""

from __future__ import annotations

import inspect
from typing import TypeVar, cast

import torch

Kind = TypeVar("Kind", bound=type[torch.optim.Optimizer])

DECORATED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def plain(optimiser: Kind) -> Kind:
    """Return a subclass of `optimiser` that computes the same."""
    methods = {name: inspect.unwrap(getattr(optimiser, name)) for name in DECORATED}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimiser.step))
    return cast(Kind, type(optimiser.__name__, (optimiser,), methods))


SGD = plain(torch.optim.SGD)
Adam = plain(torch.optim.Adam)
AdamW = plain(torch.optim.AdamW)
