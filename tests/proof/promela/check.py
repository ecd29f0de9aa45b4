"""Check the Promela models of the protocol with SPIN: all of them, the quick ones, the traps, or those named.

python -m tests.proof.promela.check [--quick | --traps | NAME ...]

Ends with `N models, 0 errors` and exit code 0, or with what failed and 1; without spin or gcc with 2. A run
that its limits cut short, or that keeps only hashes of its states, is `partial`, and says nothing about what
it didn't reach.
"""

import argparse
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECONDS = 120  # for one verification
BYTES = 4 << 30
DEPTH = 10000  # of a search; no run of the model is nearly as long
# pan stops by itself a little before the limit of its address space, and says how far it came.
COMPILE = ["gcc", "-O2", "-w", "-DVECTORSZ=1024", f"-DMEMLIM={(BYTES >> 20) - 96}"]
MODES = {
    "safety": (["-DSAFETY", "-DCOLLAPSE"], []),
    # No state is a progress state, so any cycle is an error: all runs end.
    "endless runs": (["-DNP", "-DCOLLAPSE"], ["-l"]),
    # Two bits a state instead of the state: more are reached, but some may be taken for others.
    "hashed": (["-DSAFETY", "-DBITSTATE"], ["-w33"]),
}


@dataclass(frozen=True)
class Model:
    """A configuration of protocol.pml.

    Args:
        what: what is special about it, in words.
        parameters: what words.pml says of them.
        mode: one of MODES.
        trap: something is done wrong, so an error is what must be found.
    """

    name: str
    ranks: str
    what: str
    parameters: str
    mode: str = "safety"
    quick: bool = False
    trap: bool = False

    @property
    def defines(self) -> list[str]:
        return [f"-D{parameter}" for parameter in self.parameters.split()]

    def commands(self, source: object) -> list[list[str]]:
        """Return the commands that generate, compile and run the verifier of the model in `source`."""
        switches, options = MODES[self.mode]
        return [
            ["spin", *self.defines, "-a", str(source)],
            [*COMPILE, *switches, "-o", "pan", "pan.c"],
            ["./pan", f"-m{DEPTH}", *options],
        ]

    def replay(self) -> str:
        """Return the shell command that finds the error again and shows how it comes about."""
        source = "protocol.pml"
        show = ["spin", *self.defines, "-k", "protocol.pml.trail", "-p", "-g", "-l", source]
        return " && ".join(map(shlex.join, [*self.commands(source), show]))


PAIRS = "RANKS=4 GROUPS=PAIRS"
ROTATING = "RANKS=3 GROUPS=ROTATING"

MODELS = [
    Model("two", "2", "2 steps", "STEPS=2", quick=True),
    Model("two-recycled", "2", "2 steps, one result", "STEPS=2 RESULTS=1 HALVES=2", quick=True),
    Model("two-chunks", "2", "2 steps, one result, 2 chunks", "STEPS=2 RESULTS=1 CHUNKS=2", quick=True),
    Model("two-stops", "2", "2 steps, either stops", "STEPS=2 RESULTS=1 STOPS=3", quick=True),
    Model("two-skips", "2", "2 steps, skips", "STEPS=2 RESULTS=1 MAY_SKIP", quick=True),
    Model(
        "two-quorum",
        "2",
        "2 steps, quorum 2, rank 0 interrupted",
        "STEPS=2 QUORUM=2 INTERRUPTS=1",
        quick=True,
    ),
    Model("two-synchronized", "2", "step, sync, step", "STEPS=3 TAU=2 HALVES=2", quick=True),
    Model("two-whole", "2", "step, sync of a small model, step", "STEPS=3 TAU=2 WHOLE", quick=True),
    Model("two-hosts", "2", "step, sync of two hosts, step", "STEPS=3 TAU=2 HOSTS=2", quick=True),
    Model("two-called", "2", "2 steps, sync: either calls", "STEPS=3 TAU=3 SYNC_QUORUM=1", quick=True),
    Model(
        "two-hosts-repeats",
        "2",
        "step, sync, step: marks are repeated",
        "STEPS=3 TAU=2 HOSTS=2 REPEATS",
        quick=True,
    ),
    Model(
        "two-refused",
        "2",
        "step, sync that both refuse, step",
        "STEPS=3 TAU=2 HOSTS=2 REFUSES=3 REPEATS",
        quick=True,
    ),
    Model(
        "rotating-refused",
        "3",
        "step, sync that two refuse, step, two hosts",
        f"{ROTATING} STEPS=3 TAU=2 TAKES_OVER=0 HOSTS=2 REFUSES=6",
        quick=True,
    ),
    Model(
        "two-called-together",
        "2",
        "2 steps of both, sync, step: either calls",
        "STEPS=4 TAU=3 SYNC_QUORUM=1 QUORUM=2 HOSTS=2",
        quick=True,
    ),
    Model("two-end", "2", "2 steps, no endless run", "STEPS=2", "endless runs", quick=True),
    Model("three-patient", "3", "1 step, no take-over", "RANKS=3 STEPS=1 TAKES_OVER=0 HALVES=2", quick=True),
    Model("three-two-present", "2 of 3", "2 steps", "RANKS=3 PRESENT=3 STEPS=2 RESULTS=1", quick=True),
    Model(
        "pairs-two-present", "2 of 4", "pairs, 3 steps", f"{PAIRS} PRESENT=3 STEPS=3 RESULTS=1", quick=True
    ),
    Model("two-long", "2", "3 steps", "STEPS=3"),
    Model("two-long-recycled", "2", "3 steps, one result", "STEPS=3 RESULTS=1"),
    Model("two-long-synchronized", "2", "2 steps, sync, 1 step", "STEPS=4 TAU=3 RESULTS=1"),
    Model("two-long-called", "2", "2 steps, sync, step: either calls", "STEPS=4 TAU=3 SYNC_QUORUM=1"),
    Model("two-chunks-stops", "2", "2 steps, 2 chunks, either stops", "STEPS=2 RESULTS=1 CHUNKS=2 STOPS=3"),
    Model("three-one-takes-over", "3", "1 step, rank 0 takes over", "RANKS=3 STEPS=1 TAKES_OVER=1"),
    Model("three", "3", "1 step", "RANKS=3 STEPS=1"),
    Model("three-two-stop", "2 of 3", "1 step, either stops", "RANKS=3 PRESENT=3 STEPS=1 STOPS=3 HALVES=2"),
    Model("three-stops", "3", "1 step, any stop", "RANKS=3 STEPS=1 STOPS=7", "hashed"),
    Model("three-recycled", "3", "2 steps, one result", "RANKS=3 STEPS=2 RESULTS=1", "hashed"),
    Model("rotating", "3", "a pair and one alone, 2 steps", f"{ROTATING} STEPS=2"),
    Model("rotating-skips", "3", "3 steps, skips, no take-over", f"{ROTATING} STEPS=3 MAY_SKIP TAKES_OVER=0"),
    Model("rotating-one-takes-over", "3", "2 steps, rank 0 takes over", f"{ROTATING} STEPS=2 TAKES_OVER=1"),
    Model(
        "rotating-patient", "3", "2 steps, skips, no take-over", f"{ROTATING} STEPS=2 MAY_SKIP TAKES_OVER=0"
    ),
    Model("rotating-synchronized", "3", "step, sync, step", f"{ROTATING} STEPS=3 TAU=2 TAKES_OVER=0"),
    Model("rotating-hosts", "3", "the same on two hosts", f"{ROTATING} STEPS=3 TAU=2 TAKES_OVER=0 HOSTS=2"),
    Model(
        "rotating-called",
        "3",
        "2 steps, sync: the first calls, two hosts",
        f"{ROTATING} STEPS=3 TAU=3 TAKES_OVER=0 HOSTS=2 SYNC_QUORUM=1",
    ),
    Model(
        "rotating-called-from-waits",
        "3",
        "step, sync, step: the first calls, groups wait",
        f"{ROTATING} STEPS=3 TAU=2 TAKES_OVER=0 HOSTS=2 SYNC_QUORUM=1 QUORUM=2",
        quick=True,
    ),
    Model(
        "rotating-called-by-two",
        "3",
        "step, sync, step: two call, two hosts",
        f"{ROTATING} STEPS=3 TAU=2 TAKES_OVER=0 HOSTS=2 SYNC_QUORUM=2",
    ),
    Model(
        "rotating-punctual",
        "3",
        "3 steps, quorum 2: none skips",
        f"{ROTATING} STEPS=3 QUORUM=2 PUNCTUAL TAKES_OVER=0",
    ),
    Model(
        "pairs-two-stop",
        "2 of 4",
        "pairs, 3 steps, either stops",
        f"{PAIRS} PRESENT=3 STEPS=3 RESULTS=1 STOPS=3",
    ),
    Model(
        "pairs-three-present",
        "3 of 4",
        "pairs, 2 steps, rank 0 takes over",
        f"{PAIRS} PRESENT=7 STEPS=2 RESULTS=1 TAKES_OVER=1",
    ),
    Model(
        "pairs-patient",
        "3 of 4",
        "pairs, 2 steps, no take-over",
        f"{PAIRS} PRESENT=7 STEPS=2 RESULTS=1 TAKES_OVER=0",
    ),
    Model("pairs", "4", "pairs, 2 steps, no take-over", f"{PAIRS} STEPS=2 RESULTS=1 TAKES_OVER=0"),
    Model("four-hashed", "4", "one group, 1 step, 2 chunks", "RANKS=4 STEPS=1 CHUNKS=2", "hashed"),
]


def _trap(name: str, ranks: str, what: str, parameters: str) -> Model:
    return Model(name, ranks, what, parameters, trap=True)


TRAPS = [
    _trap("latest-at-open", "2", "latest is set when the record opens", "STEPS=2 TRAP_LATEST_AT_OPEN"),
    _trap(
        "latest-for-all",
        "3",
        "any late rank goes to latest",
        f"{ROTATING} STEPS=3 MAY_SKIP TRAP_LATEST_FOR_ALL",
    ),
    _trap(
        "arrivals-while-activating",
        "2",
        "arrivals count while activating",
        "STEPS=1 TRAP_ARRIVALS_WHILE_ACTIVATING",
    ),
    _trap("loaded-after-pin", "2", "contribution loaded after the pin", "STEPS=1 TRAP_LOADED_AFTER_PIN"),
    _trap("two-slots", "3", "too few slots", f"{ROTATING} STEPS=3 QUORUM=2 PUNCTUAL SLOTS=2"),
    _trap(
        "restored-from-snapshot",
        "2",
        "MISSED restores a snapshot not its own",
        "STEPS=2 MAY_SKIP TRAP_RESTORED_FROM_SNAPSHOT",
    ),
    _trap("retired-unchecked", "2", "retired isn't checked", "STEPS=2 TRAP_RETIRED_UNCHECKED"),
    _trap("tag-after-data", "2", "the tag is set after the data", "STEPS=2 RESULTS=1 TRAP_TAG_AFTER_DATA"),
    _trap(
        "unpinned-at-first",
        "2",
        "unpins at the first finished chunk",
        "STEPS=2 CHUNKS=2 TRAP_UNPINNED_AT_FIRST",
    ),
    _trap("loser-keeps-pin", "2", "a losing helper keeps its pin", "STEPS=1 TRAP_LOSER_KEEPS_PIN"),
    _trap("no-pin", "2", "no pin", "STEPS=2 TRAP_NO_PIN"),
    _trap("no-barrier", "2", "no barrier after the synchronisation", "STEPS=3 TAU=2 TRAP_NO_BARRIER"),
    _trap("no-first-barrier", "2", "sums before all have arrived", "STEPS=3 TAU=2 TRAP_NO_FIRST_BARRIER"),
    _trap("mean-too-early", "2", "the mean overwrites what others sum", "STEPS=2 TAU=2 TRAP_MEAN_TOO_EARLY"),
    _trap(
        "mean-into-reserved",
        "2",
        "a small mean overwrites what others sum",
        "STEPS=2 TAU=2 WHOLE TRAP_MEAN_INTO_RESERVED",
    ),
    _trap(
        "round-too-early",
        "2",
        "a round reads sums that are not there",
        "STEPS=2 TAU=2 HOSTS=2 TRAP_ROUND_TOO_EARLY",
    ),
    _trap(
        "call-unheard",
        "3",
        "a member that waits does not hear a call",
        f"{ROTATING} STEPS=2 TAU=2 SYNC_QUORUM=1 QUORUM=2 TAKES_OVER=0 TRAP_CALL_UNHEARD",
    ),
    _trap("mark-stored", "2", "a mark is stored, not swapped", "STEPS=2 TAU=2 HOSTS=2 TRAP_MARK_STORED"),
    _trap(
        "code-stays",
        "2",
        "which rank refuses stays on its host",
        "STEPS=2 TAU=2 HOSTS=2 REFUSES=2 TRAP_CODE_STAYS",
    ),
    _trap(
        "looks-before-it-tells",
        "3",
        "a rank looks at counts before it tells its own",
        f"{ROTATING} STEPS=2 TAU=2 HOSTS=2 SYNC_QUORUM=2 TAKES_OVER=0 TRAP_LOOKS_BEFORE_IT_TELLS",
    ),
    _trap("no-tag-check", "2", "the reader checks no tag", "STEPS=2 RESULTS=1 TRAP_NO_TAG_CHECK"),
    _trap(
        "last-owner-only",
        "3",
        "only the last owner's tag is checked",
        "RANKS=3 STEPS=2 CHUNKS=2 RESULTS=1 TAKES_OVER=0 TRAP_LAST_OWNER_ONLY",
    ),
    _trap("pins-not-settled", "2", "pins aren't settled at publishing", "STEPS=1 TRAP_PINS_NOT_SETTLED"),
    _trap("whole-count", "2", "the whole count of pins is settled", "STEPS=2 TRAP_WHOLE_COUNT"),
    _trap("done-stored", "2", "DONE is stored, not swapped", "STEPS=1 TRAP_DONE_STORED"),
    _trap("losers-count", "2", "losers count as finished", "STEPS=1 TRAP_LOSERS_COUNT"),
    _trap(
        "compared-with-chunks", "2", "finished is compared with C", "STEPS=3 TAU=2 TRAP_COMPARED_WITH_CHUNKS"
    ),
    _trap("few-records", "2", "fewer records than steps", "STEPS=3 RECORDS=2"),
    _trap("take-over-untagged", "2", "a take-over sets no tag", "STEPS=1 TRAP_TAKE_OVER_UNTAGGED"),
]


@dataclass(frozen=True)
class Outcome:
    """What a verification came to."""

    states: int = 0
    transitions: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    complete: bool = False
    error: str = ""  # what SPIN found
    failure: str = ""  # why there is no verdict


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found.group(1)) if found else 0.0


def outcome(model: Model, output: str, in_time: bool) -> Outcome:
    """Read what pan printed."""
    errors = re.search(r"errors: (\d+)", output)
    if errors is None:
        return Outcome(failure=f"the verifier ended without a result: {output.strip()[-200:]}")
    first = re.search(r"^pan:1: (.*)$", output, re.MULTILINE)
    cut_short = "Search not completed" in output or "max search depth too small" in output
    return Outcome(
        states=int(_number(r"([\d.e+]+) states, stored", output)),
        transitions=int(_number(r"([\d.e+]+) transitions \(=", output)),
        seconds=_number(r"elapsed time ([\d.e+]+)", output),
        megabytes=_number(r"([\d.]+)\s+total actual memory usage", output),
        complete=in_time and not cut_short and model.mode != "hashed",
        error=first.group(1) if first and int(errors.group(1)) else "",
        failure="an error of which pan says nothing" if int(errors.group(1)) and not first else "",
    )


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


def verify(model: Model) -> Outcome:
    """Generate, compile and run the verifier of a model, in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="promela-") as directory:
        *build, run = model.commands(HERE / "protocol.pml")
        for command in build:
            built = subprocess.run(command, cwd=directory, capture_output=True, text=True)
            if built.returncode:
                return Outcome(failure=f"{command[0]}: {(built.stdout + built.stderr).strip()[-300:]}")
        pan = subprocess.Popen(
            run,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_limit_memory,
        )
        in_time = True
        try:
            try:
                output, _ = pan.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                in_time = False
                pan.send_signal(signal.SIGINT)  # on which it says how far it came
                output, _ = pan.communicate(timeout=30)
        finally:
            pan.kill()
            pan.wait()
        return outcome(model, output, in_time)


def verdict(model: Model, found: Outcome) -> tuple[str, bool]:
    """Return what to say of an outcome, and whether it is as it should be."""
    if found.failure:
        return found.failure, False
    if model.trap:
        return (f"found: {found.error}", True) if found.error else ("NOT FOUND", False)
    return (found.error, False) if found.error else ("no error", True)


COLUMNS = "{:<25} {:<7} {:<38} {:>11} {:>12} {:>8} {:>6} {:<11} {}"


def check(models: Iterable[Model]) -> list[Model]:
    """Verify models one after the other, print a line for each, and return those that failed."""
    print(
        COLUMNS.format(
            "model", "ranks", "what", "states", "transitions", "seconds", "MB", "searched", "result"
        )
    )
    failed = []
    for model in models:
        found = verify(model)
        said, good = verdict(model, found)
        searched = "to an error" if found.error else "exhaustive" if found.complete else "partial"
        print(
            COLUMNS.format(
                model.name,
                model.ranks,
                model.what,
                found.states,
                found.transitions,
                f"{found.seconds:.1f}",
                f"{found.megabytes:.0f}",
                searched,
                said,
            ),
            flush=True,
        )
        if not good:
            failed.append(model)
    return failed


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for; return the exit code."""
    parser = argparse.ArgumentParser(description="Check the Promela models of the protocol with SPIN.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="those that end within about a minute altogether")
    which.add_argument("--traps", action="store_true", help="only what is wrong on purpose")
    which.add_argument("names", nargs="*", default=[], metavar="NAME", help="models or traps to run")
    given = parser.parse_args(arguments)
    for tool, cure in (("spin", "apt-get install spin"), ("gcc", "apt-get install gcc")):
        if shutil.which(tool) is None:
            print(
                f"check.py: {tool} is not on the PATH; install it: {cure} (Debian), or https://spinroot.com"
            )
            return 2
    unknown = set(given.names) - {model.name for model in MODELS + TRAPS}
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    if given.names:
        chosen = [model for model in MODELS + TRAPS if model.name in given.names]
    elif given.quick:
        chosen = [model for model in MODELS if model.quick]
    else:
        chosen = TRAPS if given.traps else MODELS + TRAPS

    failed = check(chosen)
    for model in failed:
        print(f"\nto replay {model.name}, in a copy of {HERE.name}/: {model.replay()}")
    traps = sum(model.trap for model in chosen)
    if traps and not failed:
        print(f"{traps} traps, all found")
    if failed:
        print(f"{len(chosen)} models, {len(failed)} failed: {', '.join(model.name for model in failed)}")
    else:
        print(f"{len(chosen)} models, 0 errors")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
