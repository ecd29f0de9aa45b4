"""python -m wagma_rma: say what works on this machine, alone or under mpiexec; or look at a run."""

import argparse
import sys

from wagma_rma import diagnosis
from wagma_rma.planning import plan
from wagma_rma.seeing import live, timeline

COMMANDS = {
    "watch": (live, "show what the ranks of a run on this host do, and who is slow"),
    "timeline": (timeline, "draw a trace"),
    "plan": (plan, "predict step rates with other options, from a trace"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command, or the diagnosis; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m wagma_rma",
        description="Without a command: print what wagma_rma finds here, and whether it works.",
    )
    commands = parser.add_subparsers()
    for name, (module, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    return options.run(options) if hasattr(options, "run") else diagnosis.main()


if __name__ == "__main__":
    sys.exit(main())
