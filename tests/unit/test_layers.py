"""Imports, cimports and includes point from a layer to itself or to lower ones."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import launch

# From the lowest up; "" are the modules of wagma_rma itself.
LAYERS = ("kernels", "model", "groups", "waiting", "devices", "mpi", "windows", "protocol", "seeing", "")
OF_MPI = {"mpi", "windows", ""}  # layers that may use mpi4py
PROBE = "wagma_rma.testing.probe"  # looks into the averager, so it stands above it
FOR_BINDINGS = "wagma_rma.bindings"


@dataclass(frozen=True)
class Arrow:
    """A file uses a module or a header."""

    source: str  # dotted, also for headers: "wagma_rma.kernels.clock"
    target: str
    where: str  # "path:line"

    def __str__(self) -> str:
        return f"{self.where}: {self.source} uses {self.target}"


def dotted(path: Path) -> str:
    """Return the name of a module or header, from its path below the root."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files(root: Path) -> Iterator[Path]:
    """Yield the sources of both packages, below the root; not the C that Cython has made."""
    for package in ("wagma_rma", "jax_bindings"):
        for path in sorted((root / package).rglob("*")):
            generated = path.suffix == ".c" and path.with_suffix(".pyx").exists()
            if path.suffix in READERS and not generated:
                yield path.relative_to(root)


def of_python(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of each import, wherever it stands."""
    for node in ast.walk(ast.parse((root / path).read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                yield node.lineno, submodule(root, node.module or "", alias.name)


FROM = re.compile(r"\s*from\s+([\w.]+)\s+c?import\s+(.*)")
IMPORT = re.compile(r"\s*c?import\s+([\w., ]+)")
EXTERN = re.compile(r'\s*cdef\s+extern\s+from\s+"([^"]+)"')
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def of_cython(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module or header) of each import, cimport and header."""
    text = (root / path).read_text()
    # A list of names in brackets may go over several lines.
    joined = re.sub(r"\(([^()]*)\)", lambda names: names[0].replace("\n", " "), text)
    for number, line in enumerate(joined.splitlines(), start=1):
        if found := FROM.match(line):
            module, names = found.groups()
            for name in re.split(r"[,()\s]+", re.sub(r"\s+as\s+\w+", "", names.partition("#")[0])):
                if name:
                    yield number, submodule(root, module, name)
        elif found := IMPORT.match(line):
            for name in found[1].split(","):
                yield number, name.split()[0]
        elif found := EXTERN.match(line) or INCLUDE.match(line):
            yield number, header(root, path, found[1])


def of_c(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, header) of each include of the project's own."""
    for number, line in enumerate((root / path).read_text().splitlines(), start=1):
        if found := INCLUDE.match(line):
            yield number, header(root, path, found[1])


READERS = {
    ".py": of_python,
    ".pyi": of_python,
    ".pyx": of_cython,
    ".pxd": of_cython,
    ".c": of_c,
    ".h": of_c,
}


def submodule(root: Path, module: str, name: str) -> str:
    """Return the module that `from module import name` uses: `name`, if that is one itself."""
    folder = root.joinpath(*module.split("."), name)
    is_module = folder.is_dir() or any(folder.with_suffix(end).exists() for end in (".py", ".pyx", ".pxd"))
    return f"{module}.{name}" if is_module else module


def header(root: Path, path: Path, included: str) -> str:
    """Return the dotted name of a header beside a file or below the root; others are the system's."""
    for folder in (root / path.parent, root):
        if (folder / included).exists():
            return dotted((folder / included).resolve().relative_to(root.resolve()))
    return included


def arrows(root: Path) -> list[Arrow]:
    """Return all arrows of the packages below a root."""
    return [
        Arrow(dotted(path), target, f"{path}:{number}")
        for path in files(root)
        for number, target in READERS[path.suffix](root, path)
    ]


def layer(module: str) -> str:
    """Return the layer of a module of wagma_rma."""
    _, *parts = module.split(".")
    return parts[0] if parts and parts[0] in (*LAYERS, "testing") else ""


def what_is_wrong(arrow: Arrow) -> str | None:
    """Return why an arrow may not be, or None."""
    source, target = arrow.source, arrow.target
    package, used = source.split(".")[0], target.split(".")[0]
    if used in ("jax", "jaxlib") and package != "jax_bindings":
        return "only jax_bindings may use JAX"
    if package == "jax_bindings":
        if used == "wagma_rma" and target != FOR_BINDINGS:
            return f"jax_bindings may use {FOR_BINDINGS} alone"
        return None
    if used == "jax_bindings":
        return "wagma_rma may not use jax_bindings"
    mine = layer(source)
    if used == "mpi4py" and mine not in OF_MPI:
        return "only mpi, windows and the top level may use mpi4py"
    if used != "wagma_rma":
        return None
    theirs = layer(target)
    if theirs == "testing" and mine != "testing":
        return "only tests may use wagma_rma.testing"
    if mine == "testing":
        # It may use all that is below the averager.
        return None if theirs or source == PROBE else "testing may use only what is below the averager"
    return "it points up" if LAYERS.index(theirs) > LAYERS.index(mine) else None


def wrong(root: Path) -> list[str]:
    """Return what is wrong with the arrows below a root."""
    return [f"{arrow}: {why}" for arrow in arrows(root) if (why := what_is_wrong(arrow))]


def test_no_arrow_points_up():
    assert wrong(launch.ROOT) == []


def test_every_layer_and_every_kind_of_file_has_arrows():
    found = arrows(launch.ROOT)
    assert {layer(arrow.source) for arrow in found} == {*LAYERS, "testing"}
    endings = {Path(arrow.where.partition(":")[0]).suffix for arrow in found}
    assert endings == set(READERS)


def tree(root: Path, sources: dict[str, str]) -> Path:
    """Write a tree of sources in which all that they may name is there."""
    names = [f"wagma_rma/{name}/__init__.py" for name in (*LAYERS, "testing") if name]
    names += ["wagma_rma/mpi/progress.h", "wagma_rma/kernels/clock.h", "wagma_rma/windows/window.pyx"]
    names += ["wagma_rma/averager.py", "wagma_rma/bindings.py", "jax_bindings/__init__.py"]
    for name, text in {**dict.fromkeys([*names, "wagma_rma/__init__.py"], ""), **sources}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("wagma_rma/kernels/kernels.h", '#include "../mpi/progress.h"', "it points up"),
        ("wagma_rma/kernels/kernels.c", '  # include "wagma_rma/mpi/progress.h"', "it points up"),
        ("wagma_rma/waiting/waiter.pyx", "from wagma_rma.windows.window cimport Window", "it points up"),
        ("wagma_rma/waiting/waiter.pyx", "from wagma_rma.windows cimport (\n  window,\n)", "it points up"),
        ("wagma_rma/waiting/waiter.pxd", 'cdef extern from "wagma_rma/mpi/progress.h":', "it points up"),
        ("wagma_rma/groups/choice.py", "from wagma_rma.mpi import hosts", "it points up"),
        ("wagma_rma/groups/choice.py", "from wagma_rma import averager", "it points up"),
        ("wagma_rma/groups/choice.py", "def f():\n    import wagma_rma.averager", "it points up"),
        ("wagma_rma/protocol/protocol.pyi", "from wagma_rma import GroupAverager", "it points up"),
        ("wagma_rma/protocol/results.pyx", "import numpy, wagma_rma.averager", "it points up"),
        ("wagma_rma/averager.py", "from wagma_rma.testing import Verbs", "only tests may use"),
        ("wagma_rma/testing/suite.py", "import wagma_rma.averager", "what is below the averager"),
        ("wagma_rma/protocol/record.pyx", "from mpi4py import MPI", "may use mpi4py"),
        ("wagma_rma/protocol/record.pyx", "from mpi4py.MPI cimport Comm", "may use mpi4py"),
        ("wagma_rma/averager.py", "import jax.numpy as jnp", "may use JAX"),
        ("wagma_rma/averager.py", "import jax_bindings", "may not use jax_bindings"),
        ("jax_bindings/pytree.py", "from wagma_rma import GroupAverager", "wagma_rma.bindings alone"),
        ("jax_bindings/pytree.py", "from wagma_rma.mpi.agreement import agree", "wagma_rma.bindings alone"),
    ],
)
def test_a_wrong_arrow_is_seen(tmp_path, name, text, why):
    found = wrong(tree(tmp_path, {name: text + "\n"}))
    assert len(found) == 1
    assert name in found[0] and why in found[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "wagma_rma/mpi/progress.c",
            '#include "progress.h"\n#include "../kernels/clock.h"\n#include <mpi.h>',
        ),
        ("wagma_rma/windows/shared.pyx", "from mpi4py import MPI\nfrom wagma_rma.windows.window cimport W"),
        ("wagma_rma/averager.py", "from wagma_rma.protocol import record\nfrom wagma_rma import options"),
        ("wagma_rma/testing/probe.py", "from wagma_rma import averager"),
        ("wagma_rma/testing/thread_window.pyx", "from wagma_rma.windows.window cimport Window"),
        ("jax_bindings/pytree.py", "import jax\nfrom mpi4py import MPI\nfrom wagma_rma.bindings import X"),
        ("wagma_rma/kernels/floats.pyx", "# from wagma_rma.mpi import abi\nimport numpy as np"),
    ],
)
def test_a_right_arrow_is_none_of_them(tmp_path, name, text):
    assert wrong(tree(tmp_path, {name: text + "\n"})) == []
