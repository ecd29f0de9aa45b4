"""Leaves that are averaged at synchronisations only: a choice for each, and errors that say what is wrong."""

import numpy as np
import pytest

from wagma_rma.model.selection import selected
from wagma_rma.model.structure import Structure

MODEL = {"params": [np.zeros(2), np.zeros(3)], "moments": {"w": np.zeros(2), "wide": np.zeros(3)}}
ORDER = ["['moments']['w']", "['moments']['wide']", "['params'][0]", "['params'][1]"]


def choose(select, model=MODEL):
    structure = Structure("test", model)
    return selected("test", select, structure, structure.leaves("test", model))


def refusal(select):
    with pytest.raises((TypeError, ValueError)) as raised:
        choose(select)
    return f"{type(raised.value).__name__}: {raised.value}"


def test_no_choice_selects_no_leaf():
    assert choose(None) == [False] * 4


def test_a_bool_stands_for_a_leaf_or_for_a_container():
    assert choose({"params": False, "moments": True}) == [True, True, False, False]
    assert choose({"params": [True, np.False_], "moments": False}) == [False, False, True, False]
    # A key that begins like another one is another one.
    assert choose({"params": False, "moments": {"w": True, "wide": False}}) == [True, False, False, False]
    assert choose(False) == [False] * 4


def test_a_function_is_asked_for_each_leaf_by_path():
    asked = {}

    def select(path, leaf):
        asked[path] = leaf.size
        return path.startswith("['moments']")

    assert choose(select) == [True, True, False, False]
    assert asked == dict(zip(ORDER, [2, 3, 2, 3], strict=True))


def test_what_is_no_bool_is_refused():
    assert refusal({"params": 0, "moments": True}).startswith(
        "TypeError: test: select_synchronized['params'] is a int; it is True for a leaf or a container"
    )
    assert "select_synchronized['moments']['w'] is a NoneType" in refusal(lambda path, leaf: None)


def test_a_missing_choice_and_one_for_no_leaf_are_refused():
    assert refusal({"moments": True}) == (
        "ValueError: test: select_synchronized says nothing of model['params'][0]; pass True or False for "
        "each leaf, or for a container of leaves"
    )
    assert refusal({"params": False, "moments": True, "more": True}) == (
        "ValueError: test: select_synchronized['more'] is for no leaf of the model; leave it out"
    )


def test_groups_must_have_something_to_average():
    for select in (True, lambda path, leaf: True):
        assert refusal(select) == (
            "ValueError: test: select_synchronized selects all leaves, so that groups have nothing to "
            "average; pass group_size=1 for synchronisations alone"
        )
