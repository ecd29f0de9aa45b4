"""Which leaves of a model are averaged at synchronisations only."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from wagma_rma.model.structure import Structure, paths_of

# A function of a leaf's path and the leaf, or containers like the model's that hold bools; None: no leaf.
Select: TypeAlias = Callable[[str, Any], bool] | Any


def selected(name: str, select: Select, structure: Structure, leaves: list[Any]) -> list[bool]:
    """Return which leaves of a model are selected, in the order of leaves. Local.

    Args:
        name: of the operation, for errors, which call the selection "select_synchronized".
        leaves: of the model.

    Raises:
        TypeError: a choice is no bool.
        ValueError: a choice is missing, one is for no leaf, or all leaves are selected.
    """
    if select is None:
        return [False] * len(leaves)
    paths = [path.removeprefix("model") for path in structure.paths]
    if callable(select):
        choices = {path: select(path, leaf) for path, leaf in zip(paths, leaves, strict=True)}
    else:
        choices = {path.removeprefix("model"): choice for path, choice in paths_of(select)}
    for path, choice in choices.items():
        if not isinstance(choice, bool | np.bool_):
            raise TypeError(
                f"{name}: select_synchronized{path} is a {type(choice).__name__}; it is True for a leaf "
                "or a container of leaves that is averaged at synchronisations only, and False for any other"
            )
    used = set()
    found = []
    for path in paths:
        above = next((one for one in choices if _is_in(path, one)), None)
        if above is None:
            raise ValueError(
                f"{name}: select_synchronized says nothing of model{path}; pass True or False for each leaf, "
                "or for a container of leaves"
            )
        used.add(above)
        found.append(bool(choices[above]))
    for path in choices:
        if path not in used:
            raise ValueError(f"{name}: select_synchronized{path} is for no leaf of the model; leave it out")
    if all(found):
        raise ValueError(
            f"{name}: select_synchronized selects all leaves, so that groups have nothing to average; pass "
            "group_size=1 for synchronisations alone"
        )
    return found


def _is_in(path: str, container: str) -> bool:
    """Return whether a leaf is the container of this path, or lies in it."""
    return path.startswith(container) and path[len(container) : len(container) + 1] in ("", "[", ".")
