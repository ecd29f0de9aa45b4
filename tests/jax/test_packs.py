"""The packs that stand for the leaves of large models, without any ranks."""

import numpy as np
import pytest

from jax_bindings import packs
from jax_bindings.packs import packing

F32 = np.dtype(np.float32)


@pytest.mark.parametrize("count", [1, packs.MOST_OPERANDS])
def test_few_leaves_are_operands_themselves(count):
    how = packing([((3,), F32)] * count)
    assert (how.alone, how.packs) == (list(range(count)), [])
    assert how.addresses(list(range(100, 100 + count))) == list(range(100, 100 + count))


def test_the_largest_of_many_stand_alone_and_the_others_lie_one_behind_the_other():
    count = packs.MOST_OPERANDS + 1
    sizes = [(i * 37) % count for i in range(count)]  # one of each, in some order; one leaf is empty
    how = packing([((size,), F32) for size in sizes])
    assert sorted(sizes[i] for i in how.alone) == list(range(count - packs.ALONE, count))
    assert how.alone == sorted(how.alone)
    assert sorted([*how.alone, *(i for pack in how.packs for i in pack.leaves)]) == list(range(count))
    assert [len(pack.leaves) for pack in how.packs] == [packs.TOGETHER, 1]
    for number, pack in enumerate(how.packs):
        offset = 0
        for i in pack.leaves:
            assert how.places[i] == (packs.ALONE + number, offset)
            offset += -(-4 * sizes[i] // 64) * 64
        assert pack.nbytes == offset
    operands = [10_000 * i for i in range(packs.ALONE + 2)]
    assert how.addresses(operands)[how.packs[1].leaves[0]] == operands[-1]
    assert how.addresses(operands)[how.alone[5]] == operands[5]


@pytest.mark.parametrize("count", [1000, 10_000])
def test_operands_of_a_call_stay_few(count):
    how = packing([((3,), F32)] * count)
    assert len(how.alone) + len(how.packs) < packs.MOST_OPERANDS
