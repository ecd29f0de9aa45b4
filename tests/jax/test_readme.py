"""The programs of jax_bindings/README.md run as printed, and print what the document says."""

import re
import sys

import pytest

from tests.support import launch

pytestmark = pytest.mark.slow

README = launch.ROOT / "jax_bindings" / "README.md"
WHOLE_LINES = {"PYTHONUNBUFFERED": ""}  # unbuffered ranks write a line in two pieces, which mpiexec may mix


def program(name):
    """Return a program of the document, and what comes after it."""
    found = re.search(rf"```python\n(# {re.escape(name)}\n.*?)```\n(.*)", README.read_text(), re.DOTALL)
    assert found, f"{README} has no program {name}"
    return found.group(1), found.group(2)


def run(directory, *command):
    code, output = launch.Ranks(4, [sys.executable, *command], WHOLE_LINES, directory).wait(120)
    assert code == 0, output
    return lines(output)


def lines(output):
    """Return the sorted lines, without what depends on numbers too small to be printed."""
    plain = re.sub(r"\[ *", "[", re.sub(r" +", " ", output)).replace("-0. ", "0. ")
    return sorted(plain.splitlines())


@pytest.mark.parametrize("name", ["train.py", "optax_train.py", "elastic_train.py"])
def test_a_program_prints_what_the_document_shows(name, tmp_path):
    text, after = program(name)
    (tmp_path / name).write_text(text)
    command = f"\n```sh\nmpiexec -n 4 python {name}\n```\n\n"
    shown = re.match(rf"{re.escape(command)}```text\n(.*?)```", after, re.DOTALL)
    assert shown, f"{name} is not followed by its command and its output"
    assert run(tmp_path, name) == lines(shown.group(1))


def test_a_run_goes_on_where_it_stopped(tmp_path):
    text, after = program("resume.py")
    (tmp_path / "resume.py").write_text(text)
    shown = re.match(r"\n```sh\n(.*?)```", after, re.DOTALL)
    commands = re.findall(r"^mpiexec -n 4 python resume.py (\d+)$", shown.group(1), re.MULTILINE)
    assert commands == ["7", "20"]
    for steps in commands:
        assert run(tmp_path, "resume.py", steps) == [f"rank {rank}: step {steps}" for rank in range(4)]
