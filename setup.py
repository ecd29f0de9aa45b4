"""The extensions of wagma_rma; everything else about the package stands in pyproject.toml.

WAGMA_RMA_DEBUG=1 builds with bounds checks, assertions and debug symbols.
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
    FLAGS += ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer"]
else:
    FLAGS += ["-O3"]
    MACROS += [("CYTHON_WITHOUT_ASSERTIONS", "1")]


def extension(name: str, *more: str) -> Extension:
    return Extension(
        f"wagma_rma.{name}",
        [f"wagma_rma/{name}.pyx", *more],
        include_dirs=[numpy.get_include()],
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        depends=["wagma_rma/atomics.h", "wagma_rma/kernels.h"],
    )


setup(
    ext_modules=cythonize(
        [
            extension("floats"),
            extension("window"),
            extension("shared_window"),
            extension("layout"),
            extension("pieces"),
            extension("snapshots", "wagma_rma/kernels.c"),
            extension("protocol", "wagma_rma/kernels.c"),
        ],
        compiler_directives=DIRECTIVES,
        force=DEBUG,
    ),
)
