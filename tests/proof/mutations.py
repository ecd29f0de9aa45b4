"""Breaks the protocol and the windows, one line at a time, and sees that a test fails.

    python -m tests.proof.mutations            all of them (a quarter of an hour)
    python -m tests.proof.mutations --write    the same, and put what was found into the table MUTATIONS.md
    python -m tests.proof.mutations --quick    a few that stand for the rest
    python -m tests.proof.mutations NAME ...   these

Each mutation is applied to a scratch copy of the tree, built there, and tested by the simulation (and, where
it needs a real window, by the conformance suite). The table says which test caught it, and after how many
examples. Caught is what breaks a named invariant, raises in the library, goes on for ever in the simulation,
or crashes; a test that fails for another reason has not understood the mutation, and does not count.
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

from tests.proof.mutants import MUTATIONS
from tests.support.launch import mpi_name

ROOT = Path(__file__).parents[2]
LIMIT = 400  # seconds for the tests of one mutation; one that is not caught by then survives


def tree(directory):
    """Copy what a build and the tests need."""
    for name in ("wagma_rma", "jax_bindings", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(source, directory / name, ignore=ignored)
        else:
            shutil.copy2(source, directory / name)


def build(directory):
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"this tree does not build:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def test(directory, tests):
    """Run tests; return (exit code, output)."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "PYTHONPATH": str(directory), "HYPOTHESIS_PROFILE": "hunt"}
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


def verdict(code, output):
    """Return (whether it is caught, by what, after how many examples) of a test run."""
    if code is None:
        return False, f"NOTHING within {LIMIT} s", ""
    if code == 0:
        return False, "NOTHING: it survives", ""
    if code < 0:
        return True, f"a crash: {signal.Signals(-code).name}", ""
    failed = re.search(r"^FAILED (?:\S*::)?(\w+)", output, re.MULTILINE)
    test = failed[1] if failed else "no test"
    broken = re.search(r"\b(\w+), after (\d+) examples: (.{,60})", output)
    if broken:
        if broken[1] == "raised":
            return True, f"an exception: {broken[3]}", broken[2]
        return True, f"{test_of(broken[1]) or test}", broken[2]
    died = re.search(r"AssertionError: (\S+ on \d+ ranks ended with (?:-\d+|6|11|13[0-9]))\b", output)
    if died:
        return True, f"a crash: {died[1]}", ""
    conformance = re.search(r"AssertionError: ((?:\w+Window|buffers)\b.{,80})", output)
    endless = re.search(r"(no end after \d+ turns|ranks ran past \d+ s)", output)
    if conformance or endless:
        return True, f"{test}: {(conformance or endless)[1]}", ""
    raised = re.search(r"^E +(\w+.{,100})", output, re.MULTILINE)
    return False, f"NOTHING, though {test} failed: {raised[1] if raised else output.strip()[-200:]}", ""


def test_of(invariant):
    """Return the test that looks for an invariant by name; any may find it broken."""
    source = (ROOT / "tests/proof/test_protocol.py").read_text()
    looks = re.search(rf'explore\(\s*"{invariant}"', source)
    return re.findall(r"def (test_\w+)", source[: looks.start()])[-1] if looks else None


def check_unmutated(directory, chosen):
    """See that the tests pass as they are: a verdict of a test that fails anyway says nothing."""
    for tests in sorted({mutation.tests for mutation in chosen}):
        code, output = test(directory, tests)
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
        directory = Path(name)
        tree(directory)
        build(directory)
        check_unmutated(directory, chosen)
        print(f"{'mutation':52} {'seconds':>7}  caught by, after how many examples", flush=True)
        for mutation in chosen:
            path = directory / mutation.file
            original = mutated = path.read_text()
            for old, new in [(mutation.old, mutation.new), *([mutation.also] if mutation.also else [])]:
                if mutated.count(old) != 1:
                    raise SystemExit(f"{mutation.name}: {mutated.count(old)} places fit {old!r}")
                mutated = mutated.replace(old, new)
            path.write_text(mutated)
            build(directory)
            began = time.monotonic()
            is_caught, by, examples = verdict(*test(directory, mutation.tests))
            seconds = time.monotonic() - began
            caught += is_caught
            rows.append((mutation.name, by, examples))
            print(f"{mutation.name:52} {seconds:7.1f}  {by}{', ' if examples else ''}{examples}", flush=True)
            path.write_text(original)
    for mutation in MUTATIONS:
        if mutation.equivalent and mutation not in chosen:
            rows.append((mutation.name, f"not run, equivalent: {mutation.equivalent}", ""))
            print(f"{mutation.name:52} not run  equivalent: {mutation.equivalent}")
        elif mutation not in chosen and mutation.mpi not in ("", mpi_name()):
            rows.append((mutation.name, f"not run, changes nothing with {mpi_name()}", ""))
    print(f"{caught} of {len(chosen)} mutations caught")
    if arguments.write:
        write_table(rows)
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
