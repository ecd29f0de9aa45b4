"""Breaks the protocol and the windows, one line at a time, and sees that a test fails.

    python tests/mutations.py            all of them (a quarter of an hour)
    python tests/mutations.py --quick    a few that stand for the rest
    python tests/mutations.py NAME ...   these

Each mutation is applied to a scratch copy of the tree, built there, and tested by the simulation (and, where
it needs a real window, by the conformance suite). The table says which test caught it, and after how many
examples.
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

from mutants import MUTATIONS

ROOT = Path(__file__).parent.parent
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
    path = os.pathsep.join([str(directory), str(directory / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "HYPOTHESIS_PROFILE": "hunt"}
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


def caught_by(code, output):
    """Return what a failed run says: the test whose property was broken, and after how many examples."""
    found = re.search(r"(\w+), after (\d+) examples", output)
    failed = re.search(r"^FAILED (?:\S*::)?(\w+)", output, re.MULTILINE)
    if found:
        source = (ROOT / "tests/test_protocol.py").read_text()
        looks = re.search(rf'explore\(\s*"{found[1]}"', source)
        before = source[: looks.start()] if looks else f"def {failed[1]}"
        looks_for_it = re.findall(r"def (test_\w+)", before)[-1]
        return f"{looks_for_it}, {found[2]}"
    if failed:
        raised = re.search(r"^E +(\w+(?:Error|Exit)\b.*)", output, re.MULTILINE)
        return f"{failed[1]}: {raised[1][:80] if raised else ''}"
    return f"crash: {output.strip().splitlines()[-1][:80] if output.strip() else f'exit code {code}'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if (
            mutation.name in arguments.names
            if arguments.names
            else not mutation.equivalent and (mutation.quick or not arguments.quick)
        )
    ]
    unknown = set(arguments.names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        parser.error(f"no mutation is named {', '.join(sorted(unknown))}")
    caught = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tree(directory)
        build(directory)
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
            code, output = test(directory, mutation.tests)
            seconds = time.monotonic() - began
            if not code:
                verdict = "NOTHING: it survives"
            else:
                caught += 1
                verdict = caught_by(code, output)
            print(f"{mutation.name:52} {seconds:7.1f}  {verdict}", flush=True)
            path.write_text(original)
    for mutation in MUTATIONS:
        if mutation.equivalent and mutation not in chosen:
            print(f"{mutation.name:52} not run  equivalent: {mutation.equivalent}")
    print(f"{caught} of {len(chosen)} mutations caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
