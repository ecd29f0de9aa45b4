"""Run the library under sanitizers: python -m tests.proof.sanitizers.run threads|suite.

threads  ThreadSanitizer, ranks as threads (threads.py).
suite    AddressSanitizer and UndefinedBehaviorSanitizer, the tests of the project on real ranks (takes the
         arguments of pytest), and threads.py, whose windows have ends that the former guards.

With --prove each also shows that it sees what it should, in copies that are broken on purpose.

Each builds a scratch copy of the tree with the sanitizer; the tree and its build stay as they are. Needs gcc
with its sanitizers' libraries (Debian's has them) and an environment with the library's test requirements.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.proof.anchors import Sources, replace

ROOT = Path(__file__).parents[3]
HERE = Path("tests/proof/sanitizers")
# Worlds of threads.py, and what may race there.
WORLDS = {"unhurried": None, "hurried": None, "reused": "reused.supp", "taken-over": "taken-over.supp"}
# Broken on purpose, and what must be reported then.
RELAXED = {
    "load": replace(
        "wagma_load",
        "atomic_load((wagma_word *)word)",
        "atomic_load_explicit((wagma_word *)word, memory_order_relaxed)",
    ),
    "fetch_add": replace(
        "wagma_fetch_add",
        "atomic_fetch_add((wagma_word *)word, addend)",
        "atomic_fetch_add_explicit((wagma_word *)word, addend, memory_order_relaxed)",
    ),
    "compare_and_swap": replace(
        "wagma_compare_and_swap",
        "atomic_compare_exchange_strong((wagma_word *)word, &expected, desired)",
        "atomic_compare_exchange_strong_explicit((wagma_word *)word, &expected, desired, "
        "memory_order_relaxed, memory_order_relaxed)",
    ),
}
BROKEN = {
    "heap-buffer-overflow": replace(
        "KERNELS",
        "i < length; i++) average[i] = sum[i] * inverse",
        "i <= length; i++) average[i] = sum[i] * inverse",
    ),
    "runtime error: shift exponent": replace(
        "inverse_is_exact",
        "frexp(divisor, &exponent) == 0.5",
        "frexp(divisor, &exponent) == 0.5 && 1 << (exponent + 62)",
    ),
}
REPORT = "WARNING: ThreadSanitizer"
# ThreadSanitizer remembers only so many accesses, and can't match what it has forgotten with a suppression.
FORGOTTEN = "[failed to restore the stack]"
SUMMING = "Sums_end_sum"  # the function that writes results


def runtime(*names):
    """Return a value for LD_PRELOAD: the compiler's own libraries of these names."""
    paths = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in names
    ]
    for path in paths:
        if not os.path.isabs(path):
            sys.exit(f"run.py: gcc has no {path}; install its sanitizers' libraries")
    return " ".join(paths)


def build(directory, sanitizers, edit=None):
    """Copy the tree, build it there with sanitizers, and return the copy.

    Args:
        edit: what to break in the copy.
    """
    tree, installed = directory / "tree", directory / "installed"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    if edit is not None:
        for path, text in Sources.read(tree).edited([edit]).items():
            (tree / path).write_text(text)
    flags = f"-fsanitize={sanitizers} -fno-sanitize-recover=undefined"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(installed), "."],
        cwd=tree,
        env={
            **os.environ,
            "WAGMA_RMA_DEBUG": "1",
            "WAGMA_RMA_TESTING": "1",
            "CFLAGS": flags,
            "LDFLAGS": flags,
        },
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"run.py: the copy does not build:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    for library in installed.rglob("*.so"):
        shutil.copy(library, tree / library.relative_to(installed))
    return tree


def environment(tree, preload, **options):
    return {
        **os.environ,
        "LD_PRELOAD": preload,
        "PYTHONPATH": str(tree),
        # UCX's hooks run at a thread's end, after the sanitizer has forgotten it; libucm needs no hooks here.
        "UCX_MEM_MMAP_HOOK_MODE": "none",
        "UCX_MEM_EVENTS": "no",
        "OPENBLAS_NUM_THREADS": "1",
        **options,
    }


def count_races(output, world):
    """Return how many races were reported that no suppression of this world is meant for."""
    reports = output.split(REPORT)[1:]
    if WORLDS[world]:
        # Only a collection reads results that others write, and it is suppressed by its name.
        reports = [one for one in reports if FORGOTTEN not in one or SUMMING not in one]
    return len(reports)


def torture(tree, world, seconds, limit, *more):
    """Run a world of threads.py under ThreadSanitizer with `more` options of it.

    Returns:
        (its last line, data races reported, (accesses, function) of what was suppressed, exit code, output).
    """
    options = ["history_size=7", "exitcode=66", "print_suppressions=1", *more]
    if WORLDS[world]:
        options.append(f"suppressions={tree / HERE / WORLDS[world]}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.proof.sanitizers.threads", world, "--seconds", str(seconds)],
        cwd=tree,
        env=environment(tree, runtime("libtsan.so"), TSAN_OPTIONS=" ".join(options)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
    )
    said = re.findall(r"^threads: .*", done.stdout, re.MULTILINE)
    # "7 race:__pyx_f_*Class_function" for each suppression that matched: accesses.
    suppressed = re.findall(r"^(\d+) race:\S*\*(?:Sums|Snapshots)_(\w+)$", done.stdout, re.MULTILINE)
    return said[-1] if said else "", count_races(done.stdout, world), suppressed, done.returncode, done.stdout


def threads(options):
    races = wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        tree = build(Path(scratch), "thread")
        for world in options.worlds:
            said, reports, suppressed, code, output = torture(tree, world, options.seconds, options.limit)
            print(
                f"{said or f'threads: {world}: ended early'}; {reports} data races; accesses suppressed: "
                + (", ".join(f"{count} with {function}" for count, function in suppressed) or "none"),
                flush=True,
            )
            if code or reports or not said:
                print(output[-20_000:])
            races += reports
            wrong += code not in (0, 66) or not said
    blind = []
    for name, edit in RELAXED.items() if options.prove else ():
        with tempfile.TemporaryDirectory() as scratch:
            tree = build(Path(scratch), "thread", edit)
            said, reports, *_ = torture(tree, "unhurried", 5, options.limit, "halt_on_error=1")
        print(f"prove: {name} relaxed: {'a data race' if reports else 'nothing seen'}", flush=True)
        if not reports:
            blind.append(name)
    print(
        f"ThreadSanitizer: {races} data races in {len(options.worlds)} worlds, {wrong} worlds went wrong"
        + (f"; blind to {', '.join(blind)}" if blind else "; sees each relaxed verb" if options.prove else "")
    )
    return 1 if races or wrong or blind else 0


def tests(tree, arguments, **how):
    """Run threads.py and pytest in a tree that was built with AddressSanitizer; return the exit code."""
    # libstdc++ with it: the sanitizer looks for what throws C++ exceptions before JAX loads that.
    env = environment(
        tree,
        runtime("libasan.so", "libstdc++.so.6"),
        # CPython frees little of what it holds at its end; leaks are what tests/proof/leaks.py is for.
        ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1",
        UBSAN_OPTIONS="print_stacktrace=1",
    )
    for world in ("unhurried", "taken-over"):
        command = [sys.executable, "-m", "tests.proof.sanitizers.threads", world, "--seconds", "5"]
        code = subprocess.run(command, cwd=tree, env=env, **how).returncode
        if code:
            return code
    not_for_it = [
        # What AddressSanitizer keeps of freed memory looks like a leak.
        "--deselect=tests/ranks/test_endings.py::test_closed_averagers_leave_nothing_behind",
        # SPIN runs nothing that was built here.
        "--ignore=tests/proof/test_promela.py",
    ]
    command = [sys.executable, "-m", "pytest", *not_for_it, *arguments]
    with subprocess.Popen(command, cwd=tree, env=env, **how) as pytest:
        try:
            return pytest.wait()
        except BaseException:
            pytest.send_signal(signal.SIGINT)  # so that it ends the ranks it has started
            raise


def suite(options):
    with tempfile.TemporaryDirectory() as scratch:
        code = tests(build(Path(scratch), "address,undefined"), options.arguments)
    blind = []
    for report, edit in BROKEN.items() if options.prove else ():
        with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile("w+") as said:
            tree = build(Path(scratch), "address,undefined", edit)
            tests(tree, ["tests/ranks/test_averaging.py", "-x"], stdout=said, stderr=subprocess.STDOUT)
            said.seek(0)
            seen = report in said.read()
        print(f"prove: {report}: {'seen' if seen else 'nothing seen'}", flush=True)
        if not seen:
            blind.append(report)
    print(
        f"AddressSanitizer and UndefinedBehaviorSanitizer: the tests ended with {code}"
        + (
            f"; blind to {', '.join(blind)}"
            if blind
            else "; both see what is broken"
            if options.prove
            else ""
        )
    )
    return code or bool(blind)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("threads")
    command.add_argument("worlds", nargs="*", default=list(WORLDS), help="default: all")
    command.add_argument("--seconds", type=float, default=5, help="of each world, at least")
    command.add_argument("--limit", type=float, default=600, help="seconds after which a world is ended")
    command.set_defaults(run=threads)
    command = commands.add_parser("suite")
    command.add_argument("arguments", nargs="*", help="of pytest; options of it after --")
    command.set_defaults(run=suite)
    for command in commands.choices.values():
        command.add_argument(
            "--prove", action="store_true", help="break the library on purpose, and see reports"
        )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("run.py: ended by a signal"))
    sys.exit(options.run(options))


if __name__ == "__main__":
    main()
