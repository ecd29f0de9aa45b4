"""CPUs that pass for a CUDA device: jax_bindings does there what it does on one, with a fake driver.

XLA's programs are compiled for CPUs, and call the handler that a device calls: see tests/support/fake_cuda.c.
"""

from pathlib import Path
from typing import Any

import jax
from jax.interpreters import mlir

from tests.support import changes
from tests.support.fake_cuda import FakeCuda


def pretend(folder: Path, without_stream: bool = False) -> FakeCuda:
    """Have this process's CPUs pass for a CUDA device, for good; return its driver.

    Args:
        folder: for the library.
        without_stream: whether XLA's calls get an error in place of a stream.
    """
    fake = FakeCuda(folder)
    register_target, register_lowering = jax.ffi.register_ffi_target, mlir.register_lowering

    def target(name: str, function: Any, platform: str = "cpu", **options: Any) -> None:
        if platform == "CUDA":
            register_target(name, fake.before(function, without_stream), platform="cpu", **options)
        elif name != "wagma_rma_step":
            register_target(name, function, platform=platform, **options)

    def lowering(primitive: Any, rule: Any, platform: str | None = None, **options: Any) -> Any:
        if platform == "cuda":
            register_lowering(primitive, rule, "cpu", **options)
        return register_lowering(primitive, rule, platform, **options)

    with (
        changes.changed(jax.ffi, register_ffi_target=target),
        changes.changed(mlir, register_lowering=lowering),
    ):
        from jax_bindings import compiled, leaves, pytree
    for module in (compiled, leaves, pytree):
        module.platforms = lambda leaves: {"gpu"}  # type: ignore[attr-defined]
    compiled.are_cuda = lambda leaves: True
    compiled.CUDA_BY_DEFAULT = True
    return fake
