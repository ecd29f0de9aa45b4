"""What one rank finds wrong, or what ranks disagree on, is the same error on every rank."""

from functools import partial

import numpy as np
import pytest
from mpi4py import MPI

from tests.support.communicators import communicators
from tests.support.worlds import together
from wagma_rma.mpi.agreement import agree, describe, raise_described

FACTS = {"group_size": 2, "leaves": [("model['w']", "float32", (2, 3)), ("model['b']", "float64", ())]}


def outcome(comm, found):
    """Return what agree() returns or raises."""
    try:
        return agree(comm, "make", found)
    except Exception as error:
        return error


def outcomes(*found):
    """Let each rank bring what it has found; return what becomes of it, by rank."""
    ends = communicators(len(found))
    return together([partial(outcome, comm, mine) for comm, mine in zip(ends, found, strict=True)])


def with_leaves(*leaves):
    return {**FACTS, "leaves": list(leaves)}


# All is well.


def test_ranks_that_agree_get_the_facts_of_all():
    assert outcomes(FACTS, dict(FACTS), dict(FACTS)) == [[FACTS] * 3] * 3


def test_one_rank_agrees_with_itself():
    assert agree(MPI.COMM_SELF, "make", FACTS) == [FACTS]


# Errors.


def test_an_error_of_one_rank_is_raised_on_all_and_names_it():
    mine = ValueError("make: quorum=9 is out of range")
    found = outcomes(FACTS, mine, FACTS)
    assert found[1] is mine
    for error in (found[0], found[2]):
        assert type(error) is ValueError
        assert str(error) == "make: quorum=9 is out of range [found at rank 1]"


def test_each_wrong_rank_raises_its_own_error_and_the_others_that_of_the_lowest():
    first, second = TypeError("first"), MemoryError("second")
    found = outcomes(FACTS, first, second, FACTS)
    assert found[1] is first
    assert found[2] is second
    assert [str(found[rank]) for rank in (0, 3)] == ["first [found at rank 1]"] * 2


class OfAUsersOwn(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (TypeError("x"), TypeError, "x [found at rank 0]"),
        (ValueError("x"), ValueError, "x [found at rank 0]"),
        (RuntimeError("x"), RuntimeError, "x [found at rank 0]"),
        (MemoryError("x"), MemoryError, "x [found at rank 0]"),
        (NotImplementedError("x"), NotImplementedError, "x [found at rank 0]"),
        # These may take other arguments than a text, or not be known at another rank.
        (OfAUsersOwn("x"), RuntimeError, "OfAUsersOwn: x [found at rank 0]"),
        (UnicodeDecodeError("utf8", b"x", 0, 1, "why"), RuntimeError, "UnicodeDecodeError: "),
        (KeyError("x"), RuntimeError, "KeyError: 'x' [found at rank 0]"),
    ],
)
def test_an_error_of_another_rank_keeps_its_class_if_it_is_a_common_one(error, kind, text):
    _, told = outcomes(error, FACTS)
    assert type(told) is kind
    assert str(told).startswith(text)


def test_an_error_is_described_by_the_name_of_its_class_and_its_text():
    assert describe(OfAUsersOwn("no groups today")) == ("OfAUsersOwn", "no groups today")


def test_a_rank_with_an_error_of_its_own_raises_that_whatever_it_is_told():
    mine = OfAUsersOwn()
    with pytest.raises(OfAUsersOwn) as raised:
        raise_described(("ValueError", "x"), 3, mine)
    assert raised.value is mine


# Disagreements.


def differ(*found):
    """Return the one text with which all ranks refuse."""
    errors = outcomes(*found)
    assert {type(error) for error in errors} == {ValueError}
    (text,) = {str(error) for error in errors}
    return text


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (
            {**FACTS, "group_size": 4},
            "group_size is 4 at rank 1 but 2 at rank 0; pass the same at every rank",
        ),
        ({**FACTS, "group_size": "4"}, "group_size is '4' at rank 1 but 2 at rank 0; "),
        (
            with_leaves(("model['w']", "float32", (3, 2)), FACTS["leaves"][1]),
            "model['w'] is float32[3, 2] at rank 1 but float32[2, 3] at rank 0; "
            "average the same model at every rank",
        ),
        (
            with_leaves(FACTS["leaves"][0], ("model['b']", "float16", ())),
            "model['b'] is float16[] at rank 1 but float64[] at rank 0; ",
        ),
        (
            with_leaves(("model['v']", "float32", (2, 3)), FACTS["leaves"][1]),
            "rank 1 has the leaf model['v'] where rank 0 has model['w']; ",
        ),
        (with_leaves(*FACTS["leaves"] * 2), "the model has 4 leaves at rank 1 but 2 at rank 0; "),
        (with_leaves(FACTS["leaves"][0]), "the model has 1 leaves at rank 1 but 2 at rank 0; "),
    ],
)
def test_a_disagreement_says_which_rank_what_and_both_values(other, text):
    assert differ(FACTS, other).startswith(f"make: {text}")


def test_of_several_disagreements_the_lowest_ranks_is_told():
    text = differ(FACTS, FACTS, {**FACTS, "group_size": 3}, {**FACTS, "group_size": 4})
    assert text.startswith("make: group_size is 3 at rank 2 but 2 at rank 0")


def test_an_error_comes_before_a_disagreement():
    found = outcomes(FACTS, {**FACTS, "group_size": 4}, ValueError("x"))
    assert [str(error) for error in found] == ["x [found at rank 2]"] * 2 + ["x"]


def test_facts_of_numpy_integers_agree_with_pythons():
    assert outcomes(FACTS, {**FACTS, "group_size": np.int64(2)}) == [[FACTS] * 2] * 2
