#!/usr/bin/env bash
# Tries the library on a machine with a CUDA GPU, in 8 minutes at most: tests/gpu, then benchmarks/gpu_step.py.
#
#   tests/gpu/run.sh [WHEELS [RESULTS]]
#
# It uses the JAX and the torch of `python3`, and gcc. What else it needs is installed into an environment of its own, from
# the folder WHEELS, or else from a package index. To fill the folder, where there is an index (give pip the options
# --python-version and --platform for another machine's wheels):
#
#   pip download --dest WHEELS mpich mpi4py cython setuptools pytest hypothesis
#
# RESULTS is a folder for the figures (gpu_step.json), the trace (trace/) and what the tests say (default: none is kept).
set -euo pipefail
cd "$(dirname "$0")/../.."
from=()
[ $# -ge 1 ] && from=(--no-index --find-links "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
results=${2:-$scratch}

echo "== set-up"
python3 -c 'import jax, sys; print(sys.version); print(jax.__version__, jax.devices())'
python3 -m venv --system-site-packages "$scratch/venv"
. "$scratch/venv/bin/activate"
pip install --quiet "${from[@]}" mpich mpi4py cython setuptools pytest hypothesis
timeout 150 python setup.py -q build_ext --inplace --parallel 8 >"$scratch/build.log" 2>&1 ||
    { tail -n 40 "$scratch/build.log" && exit 1; }

failed=0
export XLA_PYTHON_CLIENT_PREALLOCATE=false HYDRA_LAUNCHER=fork
echo "== tests"
timeout 200 python -m pytest -q -rs -m '' tests/gpu tests/unit/test_cuda.py --durations=10 2>&1 | tee "$results/tests.log" ||
    failed=1
echo "== benchmark"
timeout 200 mpiexec -n 2 python -m benchmarks.gpu_step --json "$results/gpu_step.json" --trace "$results/trace" || failed=1
exit $failed
