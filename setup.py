"""The extensions of wagma_rma and jax_bindings; all else about the package is in pyproject.toml.

Variables of the environment:

- WAGMA_RMA_DEBUG=1 builds with bounds checks, assertions, debug symbols and the lines of the .pyx files.
- WAGMA_RMA_TESTING=1 builds the extensions of wagma_rma.testing for a wheel too. A checkout (pip install -e)
  always has them.
- CC, CFLAGS and LDFLAGS add what sanitizers and coverage need.
"""

import os
import shutil
import sys
from pathlib import Path

if sys.platform != "linux":
    sys.exit(f"wagma_rma runs on Linux only, and this is {sys.platform}")

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group


def is_set(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


DEBUG = is_set("WAGMA_RMA_DEBUG")
TESTING = is_set("WAGMA_RMA_TESTING")

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
    FLAGS += ["-O3", "-g0"]
    MACROS += [("CYTHON_WITHOUT_ASSERTIONS", "1")]


def sources(suffix: str) -> list[str]:
    packages = Path("wagma_rma"), Path("jax_bindings")
    return sorted(str(path) for package in packages for path in package.rglob(f"*{suffix}"))


HEADERS, DECLARATIONS = sources(".h"), sources(".pxd")
KERNELS = ["wagma_rma/kernels/kernels.c"]
OPERATIONS = ["wagma_rma/mpi/operations.c", "wagma_rma/mpi/progress.c"]
C_SOURCES = {
    "wagma_rma.protocol.reduction": KERNELS,
    "wagma_rma.protocol.snapshots": KERNELS,
    "wagma_rma.protocol.sums": KERNELS,
    "wagma_rma.mpi.finalize_hook": OPERATIONS,
    "wagma_rma.windows.remote_words": OPERATIONS,
}
# What calls MPI is compiled for each ABI and needs its library by soname alone, so that the loader uses the
# library that mpi4py has loaded. (A wheel for an index: auditwheel repair --exclude libmpi.so.12 --exclude
# libmpi.so.40.)
LIBRARIES = {"wagma_rma.mpi.rma_mpich": "libmpi.so.12", "wagma_rma.mpi.rma_openmpi": "libmpi.so.40"}

TRANSLATED = Path("build", "cython")  # Cython's C
BUILT_WITH = Path("build", "built_with")  # the flags, and this file, by which was last built in place


def cython_extension(source: str) -> Extension:
    module = source.removesuffix(".pyx").replace("/", ".")
    return Extension(
        module,
        [source, *C_SOURCES.get(module, [])],
        include_dirs=[".", numpy.get_include()],
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        depends=[*HEADERS, *DECLARATIONS],  # an sdist holds these too
    )


def rma_extension(module: str) -> Extension:
    source = f"{module.replace('.', '/')}.c"
    return Extension(module, [source], extra_compile_args=FLAGS, depends=[*HEADERS, "wagma_rma/mpi/rma.c"])


class Build(build):
    """Begins with an empty folder: a wheel holds all that lies there, what an earlier build left too."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildExtensions(build_ext):
    """Builds in place what has changed since, and all of it for a wheel."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        if not self.inplace:
            self.extensions = [ext for ext in self.extensions if TESTING or ".testing." not in ext.name]
            for ext in self.extensions:
                ext.extra_link_args += [] if DEBUG else ["-Wl,--strip-all"]

    def get_source_files(self) -> list[str]:
        # An sdist holds the sources of wagma_rma.testing too.
        return [*super().get_source_files(), *sources(".pyx")]

    def run(self) -> None:
        if not self.inplace:
            super().run()
            return
        flags = {name: os.environ.get(name) for name in ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS")}
        built_with = f"{DEBUG} {flags}\n{Path(__file__).read_text()}"
        if not BUILT_WITH.exists() or BUILT_WITH.read_text() != built_with:
            self.force = True
        # distutils compares with what is in the folder for a wheel, a new one for each `pip install -e`, and
        # Cython with its own declarations and numpy's, new ones in each isolated environment.
        extensions = self.extensions
        self.extensions = [ext for ext in extensions if self.force or self.has_changed(ext)]
        super().run()
        self.extensions = extensions
        BUILT_WITH.parent.mkdir(exist_ok=True)
        BUILT_WITH.write_text(built_with)

    def has_changed(self, ext: Extension) -> bool:
        used = [*ext.sources, *ext.depends]
        return bool(newer_group(used, self.get_ext_fullpath(ext.name), missing="newer"))

    def build_extensions(self) -> None:
        # Not before: an sdist holds the sources, not what Cython makes of them.
        translated = cythonize(
            self.extensions,
            build_dir=str(TRANSLATED),
            compiler_directives=DIRECTIVES,
            force=self.force,
            emit_linenums=DEBUG,
        )
        # Extensions are compiled side by side, so C that two of them hold is compiled once, and before them.
        shared = {source for ext in self.extensions for source in C_SOURCES.get(ext.name, [])}
        compiled = {source: self.compile(source, *FLAGS) for source in sorted(shared)}
        for ext, in_c in zip(self.extensions, translated, strict=True):
            held = C_SOURCES.get(ext.name, [])
            ext.sources = [source for source in in_c.sources if source not in held]
            ext.depends = [*in_c.depends, *held]
            ext.extra_objects = [compiled[source] for source in held]
            ext.include_dirs = in_c.include_dirs
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        if ext.name in LIBRARIES:
            ext.extra_link_args += ["-Wl,--no-as-needed", self.empty_library(LIBRARIES[ext.name])]
        super().build_extension(ext)

    def empty_library(self, name: str) -> str:
        """Link a library of this name that holds nothing; return its path."""
        library = Path(self.build_temp, name)
        library.parent.mkdir(parents=True, exist_ok=True)
        source = library.with_name(f"{name}.c")
        source.write_text("")
        linked = [self.compile(str(source))]
        self.compiler.link_shared_object(linked, str(library), extra_postargs=[f"-Wl,-soname,{name}"])
        return str(library)

    def compile(self, source: str, *flags: str) -> str:
        """Compile a C source; return the object's path."""
        [path] = self.compiler.compile([source], output_dir=self.build_temp, extra_postargs=list(flags))
        return str(path)


setup(
    ext_modules=[
        *(cython_extension(source) for source in sources(".pyx")),
        *(rma_extension(module) for module in LIBRARIES),
    ],
    cmdclass={"build": Build, "build_ext": BuildExtensions},
)
