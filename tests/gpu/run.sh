#!/usr/bin/env bash
# Tries the library on a machine with a CUDA GPU, in 8 minutes at most: tests/gpu, then benchmarks/gpu_step.py.
#
#   tests/gpu/run.sh [WHEELS [RESULTS]]
#
# It uses the JAX and the torch of `python3`, and gcc. What else it needs is installed into an environment of its own, from
# the folder WHEELS, or else from a package index. To fill the folder, where there is an index (give pip the options
# --python-version, --platform and --only-binary=:all: for another machine's wheels):
#
#   pip download --dest WHEELS mpich mpi4py cython setuptools pytest hypothesis
#
# RESULTS is a folder for the figures (gpu_step.json), the trace (trace/) and what the tests say (default: none is kept).
set -euo pipefail
[ $# -ge 1 ] && wheels=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
results=$(realpath "${2:-$scratch}")
cd "$(dirname "$0")/../.."

echo "== set-up"
python3 -c 'import jax, sys; print(sys.version, jax.__version__, jax.devices(), sep="\n")'
python3 -m venv "$scratch/venv"
# python3 may belong to an environment itself: what is installed there is found after what is installed here.
python3 - "$scratch/venv" <<'END'
import pathlib, sys
(place,) = pathlib.Path(sys.argv[1]).glob("lib/python3*/site-packages")
(place / "outer.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")) + "\n")
END
. "$scratch/venv/bin/activate"
pip install --quiet ${wheels:+--no-index --find-links "$wheels"} mpich mpi4py cython setuptools pytest hypothesis
timeout 150 python setup.py -q build_ext --inplace --parallel 8 >"$scratch/build.log" 2>&1 ||
    { tail -n 40 "$scratch/build.log" && exit 1; }

failed=0
export XLA_PYTHON_CLIENT_PREALLOCATE=false HYDRA_LAUNCHER=fork
echo "== tests"
timeout 200 python -m pytest -q -rs -m '' tests/gpu tests/unit/test_cuda.py --durations=10 2>&1 |
    tee "$results/tests.log" || failed=1
echo "== benchmark"
timeout 120 mpiexec -n 2 python -m benchmarks.gpu_step --json "$results/gpu_step.json" --trace "$results/trace" || failed=1
exit $failed
