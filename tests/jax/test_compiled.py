"""Steps inside compiled programs: no copies, every loop, clear errors, clean ends, meshes; each backend."""

import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

import jax_bindings
from tests.support import launch, pool

BACKENDS = pytest.mark.parametrize("backend", ["ffi", "callback"])
LIMIT = 120


def test_params_are_averaged_where_they_lie_and_compiled_once():
    for rank, facts in enumerate(pool.run(2, "jax.compiled:memory", limit=60)):
        assert [name for names in facts.pop("text") for name in names if name] == ["wagma_rma_step"]
        assert facts == {
            "in place": True,
            "deleted": True,
            "traced": 1,
            "kept": [float(i + rank) for i in range(6)],
            "mean": [i + 0.5 for i in range(6)],
            "ordered": ["IOEffect", "OrderedIOEffect"],
            "callback": [0.5, 1.5, 2.5],
            "eager": True,
        }


def test_params_on_an_accelerator_are_fetched_leaf_by_leaf_as_they_are_published():
    """No accelerator here: what is on a CPU passes for it. float64 needs JAX's permission."""
    assert pool.run(2, "jax.compiled:fetched", limit=60, env={"JAX_ENABLE_X64": "1"}) == [[], []]


@BACKENDS
def test_loops_do_a_step_in_each_turn(backend):
    assert pool.run(2, "jax.compiled:loops", limit=90, backend=backend) == [[], []]


@BACKENDS
def test_no_step_keeps_a_trace_alive(backend):
    for found in pool.run(2, "jax.compiled:leaks", limit=90, backend=backend):
        assert found.pop("a leak of the user's").startswith("Exception: Leaked trace")
        assert set(found.values()) == {"nothing"}, found


@BACKENDS
def test_what_cannot_be_transformed_says_why(backend):
    for said in pool.run(2, "jax.compiled:transformed", limit=60, backend=backend):
        for how in ("grad", "jit of grad", "grad of jit", "grad in a loop"):
            assert said[how].startswith("TypeError: average: the averager has no gradient"), how
        for how in ("vmap", "vmap of jit"):
            assert said[how].startswith("TypeError: average: the averager can't be mapped by vmap"), how
        assert said["shard_map"].startswith("ValueError: average: called in a shard_map over 'd'")
        assert said["aside"] == "nothing"
        assert said["steps"] == 1


@BACKENDS
def test_an_error_in_a_compiled_step_is_itself_at_the_end_of_the_block_and_nothing_is_lost(backend):
    results = launch.run(2, "jax.compiled:failing", limit=60, backend=backend)
    for rank, (told, w, step) in enumerate(results):
        assert "RuntimeError: average: this averager is closed; make a new one" in told.pop(0)
        if rank == 0:
            first, text, has_cause = told
            assert "SynchronizationTimeout: average: rank 0 at step 2: waited 0." in first
            assert re.search(r"for rank 1 \(at step 1; host .*\), the timeout is 0.3 s; call again", first)
            assert text.startswith("average: rank 0 at step 3: waited 0.")
            assert has_cause
        else:
            assert told == []
        assert (w, step) == ([i + 0.5 for i in range(6)], 2)


def test_after_an_error_on_another_thread_of_xlas_steps_go_on_outside_of_jit_and_in_a_new_thread():
    """In the thread that called it JAX fails what comes later: jax-ml/jax issue 37587."""
    (told, *others), (_, *same) = launch.run(2, "jax.compiled:after_failure", limit=60)
    assert "SynchronizationTimeout: average: rank 0 at step 2" in told[0]
    assert others == same
    assert others[0] == 3


def test_a_program_may_outlive_its_averager_and_a_block_passes_on_what_is_not_the_averagers():
    for said, others in launch.run(1, "jax.compiled:gone", limit=60):
        assert "RuntimeError: average: this averager is gone; keep it" in said
        assert others == 'KeyError: "another\'s"'


@pytest.mark.slow
@BACKENDS
@pytest.mark.parametrize("how", ["exit", "exception", "ctrl-c"])
def test_a_program_ends_in_the_middle_of_a_compiled_step(how, backend):
    job = launch.start(3, "jax.compiled:ending", how=how, backend=backend)
    code, output = job.wait(LIMIT)
    ended = time.time()
    if how == "exit":
        assert (code, output) == (0, "")
        return
    assert code != 0
    assert {"exception": "ZeroDivisionError: the user's own", "ctrl-c": "KeyboardInterrupt"}[how] in output
    assert ended - float((job.directory / "raised").read_text()) < 30


@pytest.mark.slow
@BACKENDS
@pytest.mark.parametrize("floats", [10, 1_000_000])
def test_ctrl_c_ends_a_compiled_step_that_waits_on_whatever_thread_xla_runs_it(backend, floats):
    """XLA runs large ones on another thread, while the main thread, which handles signals, waits in C."""
    raised, _ = launch.run(2, "jax.compiled:interrupted", limit=90, floats=floats, backend=backend)
    assert any("KeyboardInterrupt" in text for text in raised), raised


@pytest.mark.parametrize("devices", [2, 4])
def test_params_on_several_devices_of_a_process_are_averaged_once_and_stay_there(devices):
    env = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    assert pool.run(2, "jax.compiled:meshes", limit=90, env=env, devices=devices) == [[], []]


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "backend"), [(1, "ffi"), (1, "callback"), (2, "callback")])
def test_many_leaves_are_packed_into_few_operands_and_averaged_as_ever(devices, backend):
    call = {"ffi": "wagma_rma_step", "callback": "xla_ffi_python_cpu_callback"}[backend]
    env = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    for wrong, calls in pool.run(
        2, "jax.compiled:many", limit=200, env=env, backend=backend, devices=devices
    ):
        assert wrong == []
        assert calls == {call: 1, "wagma_rma_pack": 5, "wagma_rma_unpack": 5}


@pytest.mark.parametrize(("devices", "backend"), [(2, "auto"), (1, "callback")])
def test_callbacks_need_no_thread_of_xlas_pool_to_be_free(devices, backend):
    """NPROC tells XLA how many cores there are; it has a thread for each."""
    env = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "NPROC": str(devices)}
    assert pool.run(2, "jax.compiled:crowded", limit=60, env=env, devices=devices, backend=backend) == [
        30,
        30,
    ]


@BACKENDS
def test_what_an_averager_tells_counts_the_compiled_steps_that_were_called(backend):
    assert pool.run(2, "jax.compiled:prompt", limit=60, backend=backend) == [[], []]


@BACKENDS
@pytest.mark.parametrize("floats", [10, 1_000_000])
def test_in_a_callback_and_in_another_thread_it_tells_of_the_steps_done_so_far(backend, floats):
    told = pool.run(2, "jax.compiled:elsewhere", limit=60, backend=backend, floats=floats)
    assert told == [[1, 1, 1, 2, 3], [1, 1, 1]]


HEAD = "size=struct_size extensions=extension_start "
FIELDS = {
    "xla_extension XLA_FFI_Extension_Base": "size=struct_size type next",
    "xla_version XLA_FFI_Api_Version": HEAD + "major_version minor_version",
    "xla_metadata XLA_FFI_Metadata": "size=struct_size version=api_version traits",
    "xla_metadata_extension XLA_FFI_Metadata_Extension": "base=extension_base metadata",
    "xla_error_create XLA_FFI_Error_Create_Args": HEAD + "message code=errc",
    "xla_stream_get XLA_FFI_Stream_Get_Args": HEAD + "context=ctx stream",
    "xla_api XLA_FFI_Api": HEAD
    + "version=api_version internal=internal_api error_create=XLA_FFI_Error_Create "
    + "error_message=XLA_FFI_Error_GetMessage error_destroy=XLA_FFI_Error_Destroy "
    + "handler_register=XLA_FFI_Handler_Register stream_get=XLA_FFI_Stream_Get",
    "xla_buffer XLA_FFI_Buffer": HEAD + "type=dtype data rank dims",
    "xla_buffers XLA_FFI_Args": HEAD + "count=size types buffers=args",
    "xla_buffers XLA_FFI_Rets": HEAD + "count=size types buffers=rets",
    "xla_scalar XLA_FFI_Scalar": "type=dtype value",
    "xla_attributes XLA_FFI_Attrs": HEAD + "count=size types names values=attrs",
    "xla_call XLA_FFI_CallFrame": HEAD + "api context=ctx stage operands=args results=rets attributes=attrs",
}
# What is transcribed in part itself may be shorter.
PARTS = {("attributes", "attrs"), ("metadata", "")}
CONSTANTS = {
    "XLA_MAJOR": "XLA_FFI_API_MAJOR",
    "XLA_METADATA": "XLA_FFI_Extension_Metadata",
    "XLA_EXECUTE": "XLA_FFI_ExecutionStage_EXECUTE",
    "XLA_INTERNAL": "XLA_FFI_Error_Code_INTERNAL",
    **{f"XLA_{name}": f"XLA_FFI_DataType_{name}" for name in ("F16", "F32", "F64", "BF16")},
}


def compile_beside_jaxlibs(tmp_path, fields):
    """Compile assertions that our transcription equals jaxlib's header; return what the compiler says."""
    lines = ["#include <xla/ffi/api/c_api.h>", '#include "xla_call.h"']
    for names, pairs in fields.items():
        ours, theirs = (f"struct {name}" for name in names.split())
        for pair in pairs.split():
            mine, _, other = pair.partition("=")
            equal = f"offsetof({ours}, {mine}) == offsetof({theirs}, {other or mine})"
            if (mine, other) not in PARTS:
                equal += f" && sizeof((({ours} *)0)->{mine}) == sizeof((({theirs} *)0)->{other or mine})"
            lines.append(f'_Static_assert({equal}, "{ours}.{mine}");')
    lines += [f'_Static_assert((int){a} == (int){b}, "{a}");' for a, b in CONSTANTS.items()]
    lines.append('_Static_assert(XLA_MINOR <= XLA_FFI_API_MINOR, "minor version");')
    (tmp_path / "both.c").write_text("\n".join(lines) + "\n")
    folders = jax.ffi.include_dir(), Path(jax_bindings.__file__).parent
    command = [
        "gcc",
        "-std=c11",
        "-fsyntax-only",
        *(f"-I{folder}" for folder in folders),
        str(tmp_path / "both.c"),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stderr


def test_what_is_transcribed_of_xlas_header_is_what_stands_there(tmp_path):
    assert compile_beside_jaxlibs(tmp_path, FIELDS) == ""
    wrong = {**FIELDS, "xla_buffer XLA_FFI_Buffer": "data=dims"}
    assert 'static assertion failed: "struct xla_buffer.data"' in compile_beside_jaxlibs(tmp_path, wrong)


def test_the_numpy_api_needs_no_jax():
    program = """
import sys
sys.modules["jax"] = None
import numpy as np
from mpi4py import MPI
from wagma_rma import GroupAverager
with GroupAverager(MPI.COMM_WORLD, np.ones(3)) as averager:
    print(averager.average(np.ones(3)))
"""
    job = launch.Ranks(1, [sys.executable, "-W", "error", "-c", program])
    assert job.wait(LIMIT) == (0, "[1. 1. 1.]\n")
