"""Run the library under sanitizers: python tests/sanitizers/run.py threads|suite.

threads  ThreadSanitizer, ranks as threads (threads.py); --prove also shows that it sees a missing ordering.
suite    AddressSanitizer and UndefinedBehaviorSanitizer, the tests of the project on real ranks; takes the
         arguments of pytest.

Each builds a scratch copy of the tree with the sanitizer; the tree and its build stay as they are. Needs gcc
with its sanitizers' libraries (Debian's has them) and an environment with the library's test requirements.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path("tests/sanitizers")
# Worlds of threads.py, and what may race there.
WORLDS = {"unhurried": None, "hurried": None, "reused": "reused.supp", "taken-over": "taken-over.supp"}
RELAXED = {
    "load": (
        "atomic_load((wagma_word *)word);\n}",
        "atomic_load_explicit((wagma_word *)word, memory_order_relaxed);\n}",
    ),
    "fetch_add": (
        "atomic_fetch_add((wagma_word *)word, addend)",
        "atomic_fetch_add_explicit((wagma_word *)word, addend, memory_order_relaxed)",
    ),
    "compare_and_swap": (
        "atomic_compare_exchange_strong((wagma_word *)word, &expected, desired)",
        "atomic_compare_exchange_strong_explicit((wagma_word *)word, &expected, desired, "
        "memory_order_relaxed, memory_order_relaxed)",
    ),
}
REPORT = "WARNING: ThreadSanitizer"


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
        edit: (what, by what) to replace in atomics.h.
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
        header = tree / "wagma_rma/atomics.h"
        text = header.read_text()
        if text.count(edit[0]) != 1:
            sys.exit(f"run.py: atomics.h has no longer one {edit[0]!r}")
        header.write_text(text.replace(*edit))
    flags = f"-fsanitize={sanitizers} -fno-sanitize-recover=undefined"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(installed), "."],
        cwd=tree,
        env={**os.environ, "WAGMA_RMA_DEBUG": "1", "CFLAGS": flags, "LDFLAGS": flags},
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


def torture(tree, world, seconds, limit, *more):
    """Run a world of threads.py under ThreadSanitizer with `more` options of it.

    Returns:
        (its last line, data races reported, (accesses, function) of what was suppressed, exit code, output).
    """
    options = ["history_size=7", "exitcode=66", "print_suppressions=1", *more]
    if WORLDS[world]:
        options.append(f"suppressions={tree / HERE / WORLDS[world]}")
    done = subprocess.run(
        [sys.executable, str(tree / HERE / "threads.py"), world, "--seconds", str(seconds)],
        env=environment(tree, runtime("libtsan.so"), TSAN_OPTIONS=" ".join(options)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
    )
    said = re.findall(r"^threads: .*", done.stdout, re.MULTILINE)
    # "7 race:__pyx_f_..._function" for each suppression that matched: accesses.
    suppressed = re.findall(r"^(\d+) race:\w+?\d(?:Protocol|Snapshots)_(\w+)$", done.stdout, re.MULTILINE)
    return said[-1] if said else "", done.stdout.count(REPORT), suppressed, done.returncode, done.stdout


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


def suite(options):
    with tempfile.TemporaryDirectory() as scratch:
        tree = build(Path(scratch), "address,undefined")
        # libstdc++ with it: AddressSanitizer looks for what throws C++ exceptions before JAX loads that.
        env = environment(
            tree,
            runtime("libasan.so", "libstdc++.so.6"),
            # CPython frees little of what it holds at its end; leaks are what tests/leaks.py is for.
            ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1",
            UBSAN_OPTIONS="print_stacktrace=1",
        )
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *options.arguments], cwd=tree, env=env
        ).returncode
    print(f"AddressSanitizer and UndefinedBehaviorSanitizer: pytest ended with {code}")
    return code


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("threads")
    command.add_argument("worlds", nargs="*", default=list(WORLDS), help="default: all")
    command.add_argument("--seconds", type=float, default=5, help="of each world, at least")
    command.add_argument("--limit", type=float, default=600, help="seconds after which a world is ended")
    command.add_argument(
        "--prove", action="store_true", help="weaken one verb after the other, and see reports"
    )
    command.set_defaults(run=threads)
    command = commands.add_parser("suite")
    command.add_argument("arguments", nargs="*", help="of pytest; options of it after --")
    command.set_defaults(run=suite)
    options = parser.parse_args()
    sys.exit(options.run(options))


if __name__ == "__main__":
    main()
