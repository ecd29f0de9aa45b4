"""The table of dtypes is the one of kernels.h, and numpy's."""

import re

import ml_dtypes
import numpy as np
import pytest

from tests.support.launch import ROOT
from wagma_rma.kernels.dtypes import DTYPES, NAMES
from wagma_rma.protocol.layout import Layout

HEADER = (ROOT / "wagma_rma/kernels/kernels.h").read_text()
IN_C = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def enum():
    """Return the numbers of enum wagma_dtype, by name."""
    body = re.search(r"enum wagma_dtype \{(.*?)\}", HEADER)[1]
    return {name: int(number) for name, number in re.findall(r"WAGMA_(\w+) = (\d+)", body)}


def test_a_dtypes_number_is_its_place_in_the_table_and_in_c():
    numbers = enum()
    assert numbers.pop("DTYPES") == len(DTYPES)
    assert {IN_C[name]: number for name, number in numbers.items()} == {
        name: number for number, name in enumerate(NAMES)
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_widths_are_those_of_numpy(dtype):
    assert np.dtype(getattr(ml_dtypes, dtype.name, dtype.name)).itemsize == dtype.width


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_sums_are_doubles_of_doubles_and_floats_of_all_narrower_floats(dtype):
    assert dtype.sum_width == max(4, dtype.width)


def test_there_are_kernels_for_each_dtype_in_the_order_of_the_table():
    source = (ROOT / "wagma_rma/kernels/kernels_for.h").read_text()
    kernels = re.findall(r"^KERNELS\((\w+), \w+, (\w+)\)", source, re.MULTILINE)
    assert [(IN_C[name.upper()], {"double": 8, "float": 4}[sums]) for name, sums in kernels] == [
        (dtype.name, dtype.sum_width) for dtype in DTYPES
    ]


def test_a_table_that_is_not_that_of_the_header_is_noticed(monkeypatch):
    monkeypatch.setattr("wagma_rma.protocol.layout.DTYPES", DTYPES[:-1])
    with pytest.raises(TypeError, match=r"^Layout: kernels\.dtypes has 3 dtypes, kernels\.h 4$"):
        Layout([0], [1], 2, 3, 3)
