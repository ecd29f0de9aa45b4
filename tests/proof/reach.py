"""Tells which lines and branches of the compiled protocol no schedule has reached, and why.

    python -m tests.proof.reach

Builds a scratch copy with gcc's coverage counters and the lines of the .pyx files, runs test_protocol.py on
it, and lists what was never executed, and which conditions came out only one way.
Ends with one line; exit code 1 if something was not reached for which no reason stands below.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.proof.anchors import functions_of
from tests.proof.mutations import SIMULATION, build, tree

FOLDER = "wagma_rma/protocol"
# These compute sizes and words, without a schedule, and have tests of their own.
NOT_SCHEDULED = {"layout", "words"}

# Why no schedule reaches a line, by a part of its text.
REASONS = {
    "is NULL": "no memory",
    "MemoryError(": "no memory",
    "is_near(rank)": "the simulation has one host; tests across hosts count the bytes",
    "bytes_over_network += nbytes": "the simulation has one host; tests across hosts count the bytes",
    "with gil:": "a defect; a mutation that causes it is caught by it",
    "if slot < 0:": "at a synchronisation: a defect; a mutation that causes it is caught by it",
    "if window.lanes > MOST_LANES": "a window that asks for too many lanes: refused when it is made",
    "at most {MOST_LANES} can be used": "a window that asks for too many lanes: refused when it is made",
    "this is a defect of wagma_rma": "a defect; a mutation that causes it is caught by it",
    "finds step {word_step(self.state)}": "a defect; a mutation that causes it is caught by it",
    "raise RuntimeError(": "a defect; a mutation that causes it is caught by it",
    "if word_step(self.state) > step": "a defect; a mutation that causes it is caught by it",
}
# Methods that the simulation does not call: tests on real ranks do.
ELSEWHERE = {"Protocol.statistics", "Protocol.unfinished", "Snapshots.pins"}


def counts(directory, module):
    """Return {line: executions} and {line: [executions of each branch]} of a module."""
    objects = next((directory / "build").glob("temp.*")) / "build" / "cython" / FOLDER
    command = ["gcov", "--json-format", "--branch-probabilities", "--stdout", f"{module}.gcda"]
    output = subprocess.run(command, cwd=objects, capture_output=True, text=True, check=True).stdout
    lines, branches = defaultdict(int), defaultdict(list)
    for file in json.loads(output.splitlines()[0])["files"]:
        if file["file"].endswith(f"{module}.pyx"):
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] = max(lines[number], line["count"])
                branches[number] += [branch["count"] for branch in line["branches"]]
    return lines, branches


def function_of(text, number):
    """Return the name of the function that a line of a text stands in."""
    offset = sum(map(len, text.splitlines(keepends=True)[: number - 1]))
    around = [found for found in functions_of(".pyx", text) if found.begin <= offset < found.end]
    return max(around, key=lambda found: found.begin).name if around else ""


def conditions(source, number):
    """Return how many conditions the statement on a line has, or 0 if it is no decision."""
    text = source[number - 1].strip()
    if not re.match(r"(if|elif|while) ", text) or text == "while True:":
        return 0
    while not text.endswith(":"):
        number += 1
        text += " " + source[number - 1].strip()
    return 1 + len(re.findall(r" (?:and|or) ", text))


def straight(source, lines, number):
    """Say whether the lines before and after one, in the same straight run of code, have been executed.

    Then it has been too: gcc counts code of Cython's own that claims the same line number, instead.
    """
    indent = len(source[number - 1]) - len(source[number - 1].lstrip())
    around = [
        next((n for n in way if lines.get(n)), 0)
        for way in (range(number - 1, 0, -1), range(number + 1, len(source)))
    ]
    texts = [source[n - 1] for n in range(around[0], around[1] + 1)]
    return all(
        len(text) - len(text.lstrip()) == indent and not re.match(r"(return|raise|else|elif)\b", text.strip())
        for text in texts[:-1]
    )


def unreached(directory, module):
    """Yield (line number, text, what is missing) of a module."""
    source = (directory / FOLDER / f"{module}.pyx").read_text().splitlines()
    lines, branches = counts(directory, module)
    for number in sorted(lines):
        if number > len(source):
            continue  # Cython's own
        text = source[number - 1].strip()
        if not text or text.startswith(("#", '"""', "cdef ", "def ", "assert ")):
            continue
        if not lines[number] and straight(source, lines, number):
            continue
        if not lines[number]:
            yield number, text, "never executed"
        elif wanted := conditions(source, number):
            last = number
            while not source[last - 1].rstrip().endswith(":"):
                last += 1
            pairs = [branches[n] for n in range(number, last + 1)]
            both = sum(
                bool(one and other)
                for pair in pairs
                for one, other in zip(pair[::2], pair[1::2], strict=True)
            )
            if both < wanted:
                yield number, text, f"{wanted - both} of {wanted} conditions came out one way only"


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tree(directory)
        os.environ.update(WAGMA_RMA_DEBUG="1", CFLAGS="--coverage -O0", LDFLAGS="--coverage")
        build(directory)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", SIMULATION]
        environment = {**os.environ, "PYTHONPATH": str(directory)}
        subprocess.run(command, cwd=directory, env=environment, check=True)
        total = unexplained = 0
        modules = {path.stem for path in (directory / FOLDER).glob("*.pyx")} - NOT_SCHEDULED
        for module in sorted(modules):
            source = (directory / FOLDER / f"{module}.pyx").read_text()
            for number, text, missing in unreached(directory, module):
                why = next((reason for part, reason in REASONS.items() if part in text), "")
                if function_of(source, number) in ELSEWHERE:
                    why = "not called by the simulation; tests on real ranks call it"
                total += 1
                unexplained += not why
                print(f"{module}.pyx:{number:<4} {text[:60]:60}  {missing}: {why or 'NO REASON KNOWN'}")
    print(f"{total} places not reached, {unexplained} of them without a reason")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
