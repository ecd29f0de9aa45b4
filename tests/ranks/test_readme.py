"""The examples of the README and of docstrings run as printed, and print what they say they print."""

import re
import sys

import pytest

from tests.support import launch

README = launch.ROOT / "README.md"


def example(name):
    """Return (program, printed output) of an example: a python block, its mpiexec line, then its output."""
    block = re.search(
        rf"```python\n(# {re.escape(name)}\n.*?)```\n\n```sh\nmpiexec -n 4 python {re.escape(name)}\n```"
        r"\n\n```text\n(.*?)```",
        README.read_text(),
        re.DOTALL,
    )
    assert block, f"README.md has no example {name} with its mpiexec line and its output"
    return block.group(1), block.group(2)


@pytest.mark.parametrize("name", ["average.py", "train.py"])
def test_the_examples_print_what_the_readme_shows(name, tmp_path):
    program, printed = example(name)
    assert len([line for line in program.splitlines() if line]) <= 16  # the name, and 15 lines
    (tmp_path / name).write_text(program)
    # Unbuffered ranks write a line in two pieces, which mpiexec may mix with another rank's.
    whole_lines = {"PYTHONUNBUFFERED": ""}
    code, output = launch.Ranks(4, [sys.executable, name], whole_lines, tmp_path).wait(120)
    assert code == 0, output

    def without_numbers(text):
        # Who is late, and so the digits, depend on the machine; the lines don't.
        text = re.sub(r"FRESH|LATE|MISSED", "OUTCOME", text)
        # numpy pads the numbers of an array to the width of the longest.
        text = re.sub(r"\[[^]\n]*\]", lambda array: "[" + " ".join(array[0][1:-1].split()) + "]", text)
        return sorted(re.sub(r"[-\d.]+", "#", line) for line in text.splitlines())

    assert without_numbers(output) == without_numbers(printed)


def test_the_examples_of_docstrings_are_right():
    for modules in launch.run(2, "ranks.doctests:run", limit=60):
        assert all(failed == 0 and attempted > 0 for failed, attempted in modules.values()), modules


def test_the_commands_are_those_that_ci_runs():
    readme, ci = README.read_text(), (README.parent / ".ci" / "run").read_text()
    assert "pip install -e '.[mpich,jax,test]'" in readme
    assert 'pip install --quiet -e ".[$mpi,jax,test]"' in ci
    assert "\n```sh\npytest\n```" in readme
    assert "\n    pytest\n" in ci
