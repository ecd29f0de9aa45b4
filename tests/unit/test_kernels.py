"""The arithmetic on chunks gives the same bits on every kind of CPU, streamed or not."""

import ctypes
import itertools
import subprocess
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wagma_rma

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]  # by number
SUMS = [np.float64, np.float32, np.float32, np.float32]
CPUS = {"any": 0, "avx2": 1, "avx512": 2}


@pytest.fixture(scope="module")
def kernels():
    """Compile the kernels as setup.py does, and load them."""
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory, "kernels.so")
        source = Path(wagma_rma.__file__).parent / "kernels" / "kernels.c"
        flags = ["-std=c11", "-O3", "-ffp-contract=off", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, str(source), "-o", str(library), "-lm"], check=True, timeout=120)
        yield ctypes.CDLL(str(library))


def memory(count, dtype, shift):
    """Return an array that begins `shift` elements after a multiple of 64 bytes, and what surrounds it."""
    width = np.dtype(dtype).itemsize
    around = np.full((count + shift) * width + 256, 0xA5, np.uint8)
    begin = -around.ctypes.data % 64 + 64 + shift * width
    return around[begin : begin + count * width].view(dtype), around


class Output(ctypes.Structure):
    """wagma_output of kernels.h."""

    _fields_ = (
        ("out", ctypes.c_void_p),
        ("own", ctypes.c_void_p),
        ("before", ctypes.c_void_p),
        ("divisor", ctypes.c_double),
        ("stream", ctypes.c_int),
    )


def run(kernels, cpu, stream, kind, parts, own, divisor, shift):
    """Return a copy, a sum, its average and that with `own` mixed in, and what is around each."""
    assert kernels.wagma_use(cpu) <= cpu
    count = len(parts[0])
    results, surroundings = [], []

    def new(dtype, start=None):
        result, around = memory(count, dtype, shift)
        results.append(result)
        surroundings.append(around)
        if start is not None:
            result[:] = start
        return result.ctypes.data

    def output(own, out, before=None):
        places = (None if array is None else array.ctypes.data for array in (own, before))
        return ctypes.byref(Output(out, *places, divisor, stream))

    def add_up(sums, out, sources=parts):
        pointers = (ctypes.c_void_p * len(parts))(*(part.ctypes.data for part in sources))
        kernels.wagma_sum(kind, ctypes.c_void_p(sums), pointers, len(parts), size, stream, out)

    size, dtype = ctypes.c_size_t(count), DTYPES[kind]
    source, nbytes = ctypes.c_void_p(parts[0].ctypes.data), ctypes.c_size_t(parts[0].nbytes)
    kernels.wagma_copy(ctypes.c_void_p(new(dtype)), source, nbytes, stream)
    sums = new(SUMS[kind])
    add_up(sums, None)
    for mixed in (None, own):
        kernels.wagma_average(kind, ctypes.c_void_p(sums), size, output(mixed, new(dtype)))
        add_up(new(SUMS[kind]), output(mixed, new(dtype)))
    # The difference of the average to a model.
    kernels.wagma_average(kind, ctypes.c_void_p(sums), size, output(None, new(SUMS[kind]), own))
    add_up(new(SUMS[kind]), output(own, new(SUMS[kind]), own))
    # In place of a source.
    add_up(new(SUMS[kind]), output(None, new(dtype, parts[-1])), [*parts[:-1], results[-1]])
    kernels.wagma_use(max(CPUS.values()))
    return results, surroundings


@settings(max_examples=150)
@given(
    kind=st.integers(0, len(DTYPES) - 1),
    count=st.one_of(st.integers(0, 70), st.integers(250, 260), st.integers(1000, 1100)),
    members=st.integers(1, 5),
    shift=st.integers(0, 15),
    seed=st.integers(0, 1 << 32),
)
def test_every_cpu_gives_the_same_bits_and_writes_nothing_else(kernels, kind, count, members, shift, seed):
    random = np.random.default_rng(seed)
    width = np.dtype(DTYPES[kind]).itemsize
    bits = random.integers(0, 256, (members + 1, count * width), np.uint8)
    arrays = []
    for one in bits:
        array, _ = memory(count, DTYPES[kind], int(random.integers(0, 16)))
        array.view(np.uint8)[:] = one
        arrays.append(array)
    *parts, own = arrays
    expected = None
    for cpu in CPUS.values():
        for stream in (0, 1):
            results, surroundings = run(kernels, cpu, stream, kind, parts, own, members + 1.0, shift)
            found = [canonical(result) for result in results]
            expected = expected or found
            assert found == expected, f"cpu {cpu}, stream {stream}"
            for result, around in zip(results, surroundings, strict=True):
                outside = around.nbytes - result.nbytes
                assert np.count_nonzero(around == 0xA5) >= outside
    with np.errstate(all="ignore"):
        total = parts[0].astype(SUMS[kind])
        for part in parts[1:]:
            total = total + part.astype(SUMS[kind])
        average = (total / SUMS[kind](members + 1)).astype(DTYPES[kind])
        mixed = ((total + own.astype(SUMS[kind])) / SUMS[kind](members + 1)).astype(DTYPES[kind])
        wide, *differences = (one.astype(SUMS[kind]) for one in (own, average, mixed))
        differences = [one - wide for one in differences]
        numpys = [parts[0], total, average, total, average, mixed, total, mixed]
        numpys += [differences[0], total, differences[1], total, average]
    assert expected == [canonical(result) for result in numpys]


class Moved(ctypes.Structure):
    """wagma_moved of kernels.h."""

    _fields_ = (
        ("to", ctypes.c_void_p),
        ("also", ctypes.c_void_p),
        ("model", ctypes.c_void_p),
        ("difference", ctypes.c_void_p),
        ("stream", ctypes.c_int),
        ("stream_also", ctypes.c_int),
    )


@settings(max_examples=100)
@given(
    kind=st.integers(0, len(DTYPES) - 1),
    count=st.one_of(st.integers(0, 70), st.integers(250, 260), st.sampled_from([1023, 4096, 4097, 9000])),
    shifts=st.lists(st.integers(0, 15), min_size=4, max_size=4),
    in_place=st.sampled_from(["", "to is model", "also is model", "no also"]),
    seed=st.integers(0, 1 << 32),
)
def test_a_model_is_moved_alike_on_every_cpu_also_in_place(kernels, kind, count, shifts, in_place, seed):
    random = np.random.default_rng(seed)
    dtypes = DTYPES[kind], SUMS[kind]
    bits = [random.integers(0, 256, count * np.dtype(dtype).itemsize, np.uint8) for dtype in dtypes]
    with np.errstate(all="ignore"):
        summands = [one.view(dtype).astype(SUMS[kind]) for one, dtype in zip(bits, dtypes, strict=True)]
        expected = canonical((summands[0] + summands[1]).astype(DTYPES[kind]))
    for cpu, stream, stream_also in itertools.product(CPUS.values(), (0, 1), (0, 1)):
        assert kernels.wagma_use(cpu) <= cpu
        kinds = DTYPES[kind], DTYPES[kind], *dtypes
        arrays, surroundings = zip(*map(memory, [count] * 4, kinds, shifts), strict=True)
        to, also, model, difference = arrays
        for array, one in zip((model, difference), bits, strict=True):
            array.view(np.uint8)[:] = one
        to = model if in_place == "to is model" else to
        also = {"also is model": model, "no also": None}.get(in_place, also)
        places = [None if array is None else array.ctypes.data for array in (to, also, model, difference)]
        kernels.wagma_move(kind, ctypes.byref(Moved(*places, stream, stream_also)), ctypes.c_size_t(count))
        for result in (to, also):
            assert result is None or canonical(result) == expected, f"cpu {cpu}, stream {stream, stream_also}"
        for array, around in zip(arrays, surroundings, strict=True):
            assert np.count_nonzero(around == 0xA5) >= around.nbytes - array.nbytes
    kernels.wagma_use(max(CPUS.values()))


def canonical(array):
    """Return the bytes of an array; any NaN counts as any other, since their payloads depend on the order."""
    array = np.array(array)
    with np.errstate(all="ignore"):
        array[np.isnan(array.astype(np.float64))] = np.nan
    return array.tobytes()


def test_this_machine_uses_more_than_any_cpu_has(kernels):
    flags = Path("/proc/cpuinfo").read_text()
    best = 2 if "avx512bw" in flags and "avx512vl" in flags else 1 if "avx2" in flags else 0
    assert kernels.wagma_use(2) == best
