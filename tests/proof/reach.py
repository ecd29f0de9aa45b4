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

from tests.proof.anchors import code, functions_of, logical_lines
from tests.proof.mutations import SIMULATION, build, tree

FOLDER = "wagma_rma/protocol"
PYX = ".pyx"
# These compute sizes and words, without a schedule, and have tests of their own.
NOT_SCHEDULED = {"layout", "words"}

# Why no schedule reaches a line, by a part of its text; the first that fits.
FETCH = "a source that is a function: jax_bindings has such, and their tests"
MEMORY = "no memory"
NETWORK = "the simulation has one host; tests across hosts count the bytes"
LANES = "a window with too many lanes: refused when it is made"
DEFECT = "a defect; a mutation that causes it is caught by it"
REASONS = {
    "pointers.sources[i] is NULL": FETCH,
    "pointers.fetch(i)": FETCH,
    "is NULL": MEMORY,
    "MemoryError(": MEMORY,
    "is_near(rank)": NETWORK,
    "bytes_over_network += nbytes": NETWORK,
    "self.spare + self.layout.leaf_place(i)": "leaves that overlap: tests of steps pass such on",
    "if by_spare": "the same",
    "for i in range(first, pointers.count)": "the same",
    "pointers.entangled": "leaves that overlap: tests on real ranks average such",
    "if window.lanes > MOST_LANES": LANES,
    "at most {MOST_LANES} can be used": LANES,
    "if slot < 0:": f"at a synchronisation: {DEFECT}",
    "this is a defect of wagma_rma": DEFECT,
    "raise RuntimeError(": DEFECT,
    "finds step {word_step(self.state)}": DEFECT,
    "if word_step(self.state) > self.step": DEFECT,
}
# Methods that the simulation does not call: tests on real ranks do.
ELSEWHERE = {"Protocol.statistics", "Protocol.unfinished", "Snapshots.pins", "Announcements.reached"}


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
    around = [found for found in functions_of(PYX, text) if found.begin <= offset < found.end]
    return max(around, key=lambda found: found.begin).name if around else ""


def conditions(line):
    """Return how many conditions a logical line has, or 0 if it is no decision."""
    if not re.match(r"(if|elif|while) ", line) or line == "while True:":
        return 0
    return 1 + len(re.findall(r"\s(?:and|or)\s", line))


JUMP = re.compile(r"(return|raise|continue|break)\b")
BRANCH = re.compile(r"(else|elif|except|finally)\b")


def runs_straight(text, lines, statement):
    """Say whether the statement before or after one, in the same block, shows that it has been executed.

    gcc counts code of Cython's own that claims the same line number, instead.
    """
    statements = logical_lines(PYX, text)
    place = statements.index(statement)

    def executed(other):
        first, last = (text.count("\n", 0, offset) + 1 for offset in (other.begin, other.end))
        in_same_block = indent(text, other) == indent(text, statement)
        return in_same_block and any(lines.get(number) for number in range(first, last + 1))

    before, after = statements[place - 1], statements[(place + 1) % len(statements)]
    leads_on = not JUMP.match(text, statement.begin) and not BRANCH.match(text, after.begin)
    if leads_on and executed(after):
        return True
    return before.simple and not JUMP.match(text, before.begin) and executed(before)


def indent(text, statement):
    """Return how many characters stand before a statement in its line."""
    return statement.begin - text.rfind("\n", 0, statement.begin) - 1


def unreached(text, lines, branches):
    """Yield (line number, text of the statement, what is missing) of a module.

    Args:
        lines, branches: as counts() returns them.
    """
    for statement in logical_lines(PYX, text):
        line = code(PYX, text)[statement.begin : statement.end]
        first = text.count("\n", 0, statement.begin) + 1
        numbers = range(first, first + line.count("\n") + 1)
        if not any(number in lines for number in numbers):
            continue
        if re.match(r"(cdef|def|class|assert|pass|else|try|finally)\b", line):
            continue
        if not any(lines.get(number) for number in numbers):
            if not runs_straight(text, lines, statement):
                yield first, line, "never executed"
        elif wanted := conditions(line):
            pairs = [branches[number] for number in numbers if number in branches]
            both = sum(
                bool(one and other)
                for pair in pairs
                for one, other in zip(pair[::2], pair[1::2], strict=True)
            )
            if both < wanted:
                yield first, line, f"{wanted - both} of {wanted} conditions came out one way only"


def reason(text, number, line):
    """Return why no schedule reaches a statement, or nothing if no reason is known."""
    if function_of(text, number) in ELSEWHERE:
        return "not called by the simulation; tests on real ranks call it"
    if line == "with gil:":  # as what it is for
        line = " ".join(text.splitlines()[number : number + 3])
    return next((reason for part, reason in REASONS.items() if part in line), "")


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tree(directory)
        os.environ.update(WAGMA_RMA_DEBUG="1", CFLAGS="--coverage -O0", LDFLAGS="--coverage")
        build(directory)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", SIMULATION]
        environment = {**os.environ, "PYTHONPATH": str(directory), "HYPOTHESIS_PROFILE": "thorough"}
        subprocess.run(command, cwd=directory, env=environment, check=True)
        total = unexplained = 0
        modules = {path.stem for path in (directory / FOLDER).glob("*.pyx")} - NOT_SCHEDULED
        for module in sorted(modules):
            text = (directory / FOLDER / f"{module}.pyx").read_text()
            for number, line, missing in unreached(text, *counts(directory, module)):
                why = reason(text, number, line)
                total += 1
                unexplained += not why
                said = " ".join(line.split())[:60]
                print(f"{module}.pyx:{number:<4} {said:60}  {missing}: {why or 'NO REASON KNOWN'}")
    print(f"{total} places not reached, {unexplained} of them without a reason")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
