"""The extensions of wagma_rma; everything else about the package stands in pyproject.toml.

WAGMA_RMA_DEBUG=1 builds with bounds checks, assertions, debug symbols and the lines of the .pyx files; CFLAGS
and LDFLAGS add to it what sanitizers and coverage need.
"""

import os

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("WAGMA_RMA_DEBUG", "0") not in ("", "0")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
}
# No contraction: a fused multiply-add would round differently on another CPU of the same group.
FLAGS = ["-std=c11", "-ffp-contract=off"]
MACROS = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
if DEBUG:
    FLAGS += ["-O0", "-g", "-UNDEBUG", "-fno-omit-frame-pointer"]
else:
    FLAGS += ["-O3"]
    MACROS += [("CYTHON_WITHOUT_ASSERTIONS", "1")]


KERNELS = {"snapshots": ["kernels.c"], "protocol": ["kernels.c"]}


def extension(module: str) -> Extension:
    sources = [f"{module.replace('.', '/')}.pyx", *KERNELS.get(module, [])]
    return Extension(
        f"wagma_rma.{module}",
        [f"wagma_rma/{source}" for source in sources],
        include_dirs=[numpy.get_include(), "wagma_rma"],
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        depends=["wagma_rma/atomics.h", "wagma_rma/kernels.h"],
    )


MODULES = ["floats", "window", "mapped_window", "shared_window", "layout", "pieces", "snapshots", "protocol"]
TESTING = [f"testing.{name}" for name in ("scheduler", "simulated_window", "steps", "thread_window", "verbs")]

setup(
    ext_modules=cythonize(
        [extension(module) for module in [*MODULES, *TESTING]],
        compiler_directives=DIRECTIVES,
        force=DEBUG,
        emit_linenums=DEBUG,
    ),
)
