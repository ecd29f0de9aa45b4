"""The programs of the documents and of docstrings run as printed, and print what they say they print."""

import re
import subprocess
import sys

import pytest

from tests.support import launch

README = launch.ROOT / "README.md"
# A program begins with its name, and is followed by a session that runs it: see README.md.
PROGRAM = re.compile(
    r"```python\n(# (?P<name>\w+\.py)\n.*?)```\n\n```console\n\$ mpiexec -n (\d+) python (?P=name)\n(.*?)```",
    re.DOTALL,
)


def programs():
    """Return (document, name, program, ranks, printed output) of all complete programs in documents."""
    documents = [
        README,
        *sorted((launch.ROOT / "wagma_rma").glob("*.md")),
        launch.ROOT / "jax_bindings/README.md",
    ]
    found = []
    for document in filter(lambda path: path.exists(), documents):
        text = document.read_text()
        for program, name, ranks, printed in PROGRAM.findall(text):
            found.append((document.relative_to(launch.ROOT), name, program, int(ranks), printed))
        complete = re.findall(r"```python\n# (\w+\.py)\n", text)
        assert complete == [name for where, name, *_ in found if launch.ROOT / where == document], (
            f"{document}: a program lacks the session that runs it, as those in README.md have it"
        )
    return found


PROGRAMS = programs()


def test_the_readme_has_its_three_programs_which_are_short():
    short = {name: program for where, name, program, *_ in PROGRAMS if launch.ROOT / where == README}
    assert list(short) == ["mean.py", "average.py", "train.py"]
    for program in short.values():
        assert len([line for line in program.splitlines() if line]) <= 16  # the name, and 15 lines


@pytest.mark.parametrize(("name", "program", "ranks", "printed"), [example[1:] for example in PROGRAMS])
def test_a_program_prints_what_its_document_shows(name, program, ranks, printed, tmp_path):
    (tmp_path / name).write_text(program)
    # Unbuffered ranks write a line in two pieces, which mpiexec may mix with another rank's.
    whole_lines = {"PYTHONUNBUFFERED": ""}
    code, output = launch.Ranks(ranks, [sys.executable, name], whole_lines, tmp_path).wait(120)
    assert code == 0, output

    def without_numbers(text):
        # Who is late, and so the digits, depend on the machine; the lines don't.
        text = re.sub(r"FRESH|LATE|MISSED", "OUTCOME", text)
        # numpy pads the numbers of an array to the width of the longest.
        text = re.sub(r"\[[^]\n]*\]", lambda array: "[" + " ".join(array[0][1:-1].split()) + "]", text)
        return sorted(re.sub(r"[-\d.]+", "#", line) for line in text.splitlines())

    assert without_numbers(output) == without_numbers(printed)


@pytest.mark.parametrize(("name", "program"), [example[1:3] for example in PROGRAMS])
def test_a_spawned_process_that_imports_the_program_starts_no_mpi(name, program, tmp_path):
    (tmp_path / name).write_text(program)
    importing = f"import sys, {name.removesuffix('.py')}; sys.exit('mpi4py.MPI' in sys.modules)"
    subprocess.run([sys.executable, "-c", importing], check=True, timeout=60, cwd=tmp_path)


def test_the_examples_of_docstrings_are_right():
    for modules in launch.run(2, "ranks.doctests:run", limit=60):
        assert all(failed == 0 and attempted > 0 for failed, attempted in modules.values()), modules


def test_the_commands_are_those_that_ci_runs():
    readme, ci = README.read_text(), (README.parent / ".ci" / "run").read_text()
    assert "pip install -e '.[mpich,jax,test]'" in readme
    assert 'pip install --quiet -e ".[$mpi,jax,test]"' in ci
    assert "\n```sh\npytest\n```" in readme
    assert "\n    pytest\n" in ci
