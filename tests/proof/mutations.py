"""Breaks the sources, one mutation at a time, and sees that a test fails.

    python -m tests.proof.mutations            all of them (a quarter of an hour)
    python -m tests.proof.mutations --write    the same, and put what was found into the table MUTATIONS.md
    python -m tests.proof.mutations --quick    a few that stand for the rest (a minute)
    python -m tests.proof.mutations NAME ...   these

Each mutation is applied to a scratch copy of the tree, built there, and tested: those of the protocol by the
simulation, those of windows by the conformance suite, the others by the tests that they name. The table says
which test caught it, and after how many examples. In the simulation, caught is what breaks a named invariant,
raises in the library, goes on for ever, or crashes: a test that fails for another reason has not understood
the mutation.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.proof.anchors import Sources
from tests.proof.mutants import ALONE, DEPARTING, DIRECT, LIFECYCLE, MUTATIONS
from tests.support.launch import mpi_name

ROOT = Path(__file__).parents[2]
SIMULATION = "tests/proof/test_protocol.py"
LIMIT = 400  # seconds for the tests of one mutation; one that is not caught by then survives
NEEDED = ("wagma_rma", "jax_bindings", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def tree(directory, built=False):
    """Copy what a build and the tests need; with what has been built, if it is to be used again."""
    ignored = shutil.ignore_patterns("__pycache__", *([] if built else ["*.so"]))
    for name in (*NEEDED, *(["build"] if built else [])):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=ignored, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy2(source, directory / name)


def build(directory):
    """Build what is older than its sources."""
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"this tree does not build:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def files_of(directory):
    """Return the time of change of each file of a tree, by its path in it."""
    return {
        path.relative_to(directory): path.stat().st_mtime_ns
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


class Copies:
    """Two copies of the tree: one that stays as it is, and one for a mutation after another.

    Args:
        directory: where they are made.
    """

    def __init__(self, directory):
        self._whole, self.mutated = directory / "whole", directory / "mutated"
        tree(self._whole, built=True)
        build(self._whole)
        self._files = files_of(self._whole)
        self._sources = Sources.read(self._whole)
        shutil.copytree(self._whole, self.mutated)

    def apply(self, mutation):
        """Apply a mutation, and build what it changes."""
        changed = mutation.apply(self._sources)
        for path, text in changed.items():
            (self.mutated / path).write_text(text)
        if not all(path.endswith(".py") for path in changed):
            build(self.mutated)

    def restore(self):
        """Make the mutated copy equal to the other one again, without building."""
        now = files_of(self.mutated)
        for path in now.keys() - self._files.keys():
            (self.mutated / path).unlink()
        for path, changed in self._files.items():
            if now.get(path) != changed:
                shutil.copy2(self._whole / path, self.mutated / path)


def test(directory, tests, profile="hunt"):
    """Run tests; return (exit code, output)."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "PYTHONPATH": str(directory), "HYPOTHESIS_PROFILE": profile}
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return None, output
    return process.returncode, output


FAILED = r"(?:AssertionError|Failed): "  # of pytest, and of a pool of ranks


def verdict(code, output, any_assertion=False):
    """Return (whether it is caught, by what, after how many examples) of a test run.

    Args:
        any_assertion: any failed assertion catches the mutation; else only one that names what is broken.
    """
    if code is None:
        return False, f"NOTHING within {LIMIT} s", ""
    if code == 0:
        return False, "NOTHING: it survives", ""
    if code < 0:
        return True, f"a crash: {signal.Signals(-code).name}", ""
    failed = re.search(r"^(?:FAILED (?:\S*::)?|ERROR \S*::)(\w+)", output, re.MULTILINE)
    test = failed[1] if failed else "no test"
    broken = re.search(r"\b(\w+), after (\d+) examples: (.{,60})", output)
    if broken:
        if broken[1] == "raised":
            return True, f"an exception: {broken[3]}", broken[2]
        return True, f"{test_of(broken[1]) or test}", broken[2]
    died = re.search(rf"{FAILED}(\S+ on \d+ ranks ended with (?:-\d+|6|11|13[0-9]))\b", output)
    if died:
        return True, f"a crash: {died[1]}", ""
    conformance = re.search(rf"{FAILED}((?:\w+Window|(?:ranks\.)?buffers)\b.{{,80}})", output)
    endless = re.search(r"(no end after \d+ turns|ranks ran past \d+ s)", output)
    if conformance or endless:
        return True, f"{test}: {(conformance or endless)[1]}", ""
    raised = re.search(r"^E +(\w+.{,100})", output, re.MULTILINE)
    if failed and raised and any_assertion:
        return True, f"{test}: {raised[1]}", ""
    return False, f"NOTHING, though {test} failed: {raised[1] if raised else output.strip()[-200:]}", ""


def test_of(invariant):
    """Return the test that looks for an invariant by name; any may find it broken."""
    source = (ROOT / SIMULATION).read_text()
    looks = re.search(rf'explore\(\s*"{invariant}"', source)
    return re.findall(r"def (test_\w+)", source[: looks.start()])[-1] if looks else None


def check_unmutated(directory, chosen, profile):
    """See that the tests pass as they are: a verdict of a test that fails anyway says nothing."""
    for tests in sorted({mutation.tests for mutation in chosen}):
        code, output = test(directory, tests, profile)
        if code != 0:
            raise SystemExit(f"{tests} does not pass without a mutation ({code}):\n{output[-6000:]}")


def write_table(rows):
    """Write rows of the table as Markdown; mutations that were not run this time keep theirs."""
    path = ROOT / "tests/proof/MUTATIONS.md"
    kept = {line.split(" | ")[0].removeprefix("| "): line for line in path.read_text().splitlines()}
    made = {row[0]: f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows}
    table = [line for mutation in MUTATIONS if (line := (kept | made).get(mutation.name))]
    run = [line for line in table if " | not run, " not in line]
    caught = sum(" | NOTHING" not in line for line in run)
    lines = [
        "# Mutations, and what catches them",
        "",
        "Made by `python -m tests.proof.mutations --write`, which runs the tests on one mutation at a time.",
        "",
        "| mutation | caught by | after how many examples |",
        "|---|---|---|",
        *table,
        "",
        f"{caught} of {len(run)} mutations caught",
    ]
    path.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the table into tests/proof/MUTATIONS.md")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if (
            mutation.name in arguments.names
            if arguments.names
            else not mutation.equivalent
            and mutation.mpi in ("", mpi_name())
            and (mutation.quick or not arguments.quick)
        )
    ]
    unknown = set(arguments.names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        parser.error(f"no mutation is named {', '.join(sorted(unknown))}")
    rows, caught = [], 0
    with tempfile.TemporaryDirectory() as name:
        copies = Copies(Path(name))
        # CI has just run them; a glance shows that they run in this copy too.
        check_unmutated(copies.mutated, chosen, "glance" if arguments.quick else "hunt")
        print(f"{'mutation':60} {'build':>5} {'test':>5}  caught by, after how many examples", flush=True)
        for mutation in chosen:
            began = time.monotonic()
            copies.restore()
            copies.apply(mutation)
            built = time.monotonic()
            tested = test(copies.mutated, mutation.tests)
            direct = mutation in (*ALONE, *LIFECYCLE, *DEPARTING) or mutation.tests in DIRECT
            is_caught, by, examples = verdict(*tested, any_assertion=direct)
            seconds = f"{built - began:5.1f} {time.monotonic() - built:5.1f}"
            caught += is_caught
            rows.append((mutation.name, by + (f" (with {mutation.mpi})" if mutation.mpi else ""), examples))
            print(f"{mutation.name:60} {seconds}  {by}{', ' if examples else ''}{examples}", flush=True)
            if arguments.write:  # so that nothing is lost if this is ended
                write_table(rows)
    for mutation in MUTATIONS:
        if mutation.equivalent and mutation not in chosen:
            rows.append((mutation.name, f"not run, equivalent: {mutation.equivalent}", ""))
            print(f"{mutation.name:60} not run  equivalent: {mutation.equivalent}")
    print(f"{caught} of {len(chosen)} mutations caught")
    if arguments.write:
        write_table(rows)
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
