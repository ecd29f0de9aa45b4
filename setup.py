"""The extensions of wagma_rma and jax_bindings; all else about the package is in pyproject.toml.

WAGMA_RMA_DEBUG=1 builds with bounds checks, assertions, debug symbols and the lines of the .pyx files; CFLAGS
and LDFLAGS add what sanitizers and coverage need. The extensions of wagma_rma.testing are built in a checkout
(pip install -e) and with WAGMA_RMA_TESTING=1, not for a wheel.
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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

HEADERS = [str(header) for header in Path().glob("*/**/*.h")]
C_SOURCES = {
    "wagma_rma.protocol.snapshots": ["kernels/kernels.c"],
    "wagma_rma.protocol.sums": ["kernels/kernels.c"],
    "wagma_rma.mpi.finalize_hook": ["mpi/progress.c", "mpi/operations.c"],
    "wagma_rma.windows.remote_words": ["mpi/progress.c", "mpi/operations.c"],
}
# What calls MPI is compiled for each ABI and needs its library by soname alone, so that the loader uses the
# library that mpi4py has loaded.
LIBRARIES = {"mpich": "libmpi.so.12", "openmpi": "libmpi.so.40"}


def cython_extension(source: Path) -> Extension:
    module = ".".join(source.with_suffix("").parts)
    return Extension(
        module,
        [str(source), *(f"wagma_rma/{name}" for name in C_SOURCES.get(module, []))],
        include_dirs=[".", numpy.get_include()],
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        depends=HEADERS,
    )


def rma_extension(abi: str) -> Extension:
    return Extension(
        f"wagma_rma.mpi.rma_{abi}",
        ["wagma_rma/mpi/rma.c"],
        define_macros=[(f"WAGMA_ABI_{abi.upper()}", "1")],
        extra_compile_args=FLAGS,
        depends=HEADERS,
    )


class BuildExtensions(build_ext):
    """Builds extensions; links those that call MPI to empty libraries that have the right names."""

    def build_extension(self, ext: Extension) -> None:
        abi = ext.name.rpartition("rma_")[2]
        if abi in LIBRARIES:
            # An object file of its own for each: both are made of one source.
            directory, self.build_temp = self.build_temp, str(Path(self.build_temp) / abi)
            library = Path(self.build_temp, LIBRARIES[abi])
            library.parent.mkdir(parents=True, exist_ok=True)
            empty = library.with_name("empty.c")
            empty.write_text("")
            objects = self.compiler.compile([str(empty)], output_dir=self.build_temp, extra_preargs=["-fPIC"])
            soname = f"-Wl,-soname,{library.name}"
            self.compiler.link_shared_object(objects, str(library), extra_postargs=[soname])
            ext.extra_link_args = ["-Wl,--no-as-needed", str(library)]
            super().build_extension(ext)
            self.build_temp = directory
        else:
            super().build_extension(ext)


setup(
    ext_modules=[
        *cythonize(
            [
                cython_extension(source)
                for source in sorted(Path().glob("*/**/*.pyx"))
                if source.parts[0] != "build"
            ],
            compiler_directives=DIRECTIVES,
            force=DEBUG,
            emit_linenums=DEBUG,
        ),
        *(rma_extension(abi) for abi in LIBRARIES),
    ],
    cmdclass={"build_ext": BuildExtensions},
)
