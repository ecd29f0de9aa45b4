"""The programs of the documents and of docstrings run as printed, and print what they say they print.

Those of jax_bindings/README.md: tests/jax/test_readme.py.
"""

import re
import subprocess
import sys

import pytest

from tests.support import launch

pytestmark = pytest.mark.slow

README = launch.ROOT / "README.md"
TESTS = launch.ROOT / "tests"
DOCUMENTS = [README, *sorted((launch.ROOT / "wagma_rma").glob("*.md"))]
# A program begins with its name. A session follows that runs it: see README.md.
PROGRAM = re.compile(r"```python\n(# (\w+\.py)\n.*?)```", re.DOTALL)
# It may run it several times, in one folder.
SESSION = r"```\n\n```console\n((?:\$ mpiexec -n \d+ python {0}\n(?:(?!\$|```).*\n)*)+)```"
COMMAND = r"\$ mpiexec -n (\d+) python {0}\n((?:(?!\$|```).*\n)*)"
NEEDS = {"torch": r"^import torch$"}  # what not every environment has


def programs(document):
    """Return (name, program) of each complete program of a document."""
    return [(name, program) for program, name in PROGRAM.findall(document.read_text())]


def session(document, name, program):
    """Return (ranks, printed output) of each command of the session that follows a program."""
    _, rest = document.read_text().split(program)
    found = re.match(SESSION.format(re.escape(name)), rest)
    assert found, f"{document}: {name} has no session that runs it, as the programs of README.md have"
    return [(int(ranks), said) for ranks, said in re.findall(COMMAND.format(re.escape(name)), found[1])]


def each_program(documents):
    examples = [(document, *program) for document in documents for program in programs(document)]
    return pytest.mark.parametrize(
        ("document", "name", "program"),
        examples,
        ids=[f"{path.parent.name}/{name}" for path, name, _ in examples],
    )


def test_the_readme_has_its_three_programs_which_are_short():
    short = dict(programs(README))
    assert list(short) == ["mean.py", "average.py", "train.py"]
    for program in short.values():
        assert len([line for line in program.splitlines() if line]) <= 16  # the name, and 15 lines


@each_program(DOCUMENTS)
def test_a_program_prints_what_its_document_shows(document, name, program, tmp_path):
    for module, imports in NEEDS.items():
        if re.search(imports, program, re.MULTILINE):
            pytest.importorskip(module)
    (tmp_path / name).write_text(program)

    def without_numbers(text):
        # Who is late, and so the digits, depend on the machine; the lines don't.
        text = re.sub(r"FRESH|LATE|MISSED", "OUTCOME", text)
        # numpy pads the numbers of an array to the width of the longest.
        text = re.sub(r"\[[^]\n]*\]", lambda array: "[" + " ".join(array[0][1:-1].split()) + "]", text)
        return sorted(re.sub(r"[-\d.]+", "#", line) for line in text.splitlines())

    # Unbuffered ranks write a line in two pieces, which mpiexec may mix with another rank's.
    whole_lines = {"PYTHONUNBUFFERED": ""}
    for ranks, printed in session(document, name, program):
        code, output = launch.Ranks(ranks, [sys.executable, name], whole_lines, tmp_path).wait(120)
        assert code == 0, output
        assert without_numbers(output) == without_numbers(printed)


@each_program([*DOCUMENTS, launch.ROOT / "jax_bindings/README.md"])
def test_a_spawned_process_that_imports_the_program_starts_no_mpi(document, name, program, tmp_path):
    for module, imports in NEEDS.items():
        if re.search(imports, program, re.MULTILINE):
            pytest.importorskip(module)
    (tmp_path / name).write_text(program)
    importing = f"import sys, {name.removesuffix('.py')}; sys.exit('mpi4py.MPI' in sys.modules)"
    subprocess.run([sys.executable, "-c", importing], check=True, timeout=60, cwd=tmp_path)


def test_the_examples_of_docstrings_are_right():
    for modules in launch.run(2, "ranks.doctests:run", limit=60):
        assert all(failed == 0 and attempted > 0 for failed, attempted in modules.values()), modules


def test_the_commands_are_those_that_ci_runs():
    readme, ci = README.read_text(), (README.parent / ".ci" / "run").read_text()
    assert "pip install -e '.[mpich,jax,test]'" in readme
    assert 'install --quiet -e ".[$1,jax,test]"' in ci
    assert "\n```sh\npytest\n```" in readme
    # That is all folders of tests, which CI runs with the first MPI in two parts.
    run = re.findall(r'^ *(?:stage|second) "mpich: [a-z ]+" tests (tests/.*)$', ci, re.MULTILINE)
    folders = sorted({str(path.parent.relative_to(launch.ROOT)) for path in TESTS.rglob("test_*.py")})
    assert sorted(folder for folders in run for folder in folders.split()) == folders
