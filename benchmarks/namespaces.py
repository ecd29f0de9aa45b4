"""Run a benchmark on hosts that are network namespaces of this machine: needs root and iproute2.

python -m benchmarks.namespaces [--program network] [--hosts 2] [--ranks 1] [--rate 1e9] [...]
"""

import argparse
import sys

from tests.support.hosts import Hosts, why_not


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--program", default="network", choices=["network", "overlap", "synchronise", "scaling"]
    )
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1, help="on each host")
    parser.add_argument("--rate", type=float, help="bits per second of each host's cable")
    parser.add_argument("--netmod", help="ofi or ucx, with MPICH")
    chosen, rest = parser.parse_known_args()
    if reason := why_not():
        sys.exit(f"no hosts here: {reason}")
    with Hosts(chosen.hosts) as hosts:
        if chosen.rate:
            for host in range(chosen.hosts):
                hosts.rate(host, chosen.rate)
        command = [sys.executable, "-m", "mpi4py", "-m", f"benchmarks.{chosen.program}", *rest]
        job = hosts.start_command(chosen.ranks, command, netmod=chosen.netmod)
        code, output = job.wait(600)
    print(output)
    sys.exit(code)


if __name__ == "__main__":
    main()
