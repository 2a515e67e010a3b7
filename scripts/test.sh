#!/usr/bin/env bash
# test.sh BIN PROCESSES   runs the tests: first, alone, those that measure time, then those that may share the machine,
# files that take longest before all others (tests/conftest.py).
# Both parts always run; the status is that of the first part that failed.
set -euo pipefail

bin=$1
processes=$2
cd "$(dirname "$0")/.."

# Many tests start processes; where bytecode is not kept, most of their time goes into compiling PyTorch's source.
unset PYTHONDONTWRITEBYTECODE
status=0
# Only the files that have any: to load all others takes longer than these tests.
mapfile -t timed < <(grep -rl --include='test_*.py' 'pytest\.mark\.timing' tests)
"$bin/python" -m pytest -q -m timing "${timed[@]}" || status=$?
# One thread a process: were each to use all processors, their threads would spin for one another.
OMP_NUM_THREADS=1 "$bin/python" -m pytest -q -m 'not timing' -n "$processes" --dist loadfile --no-loadscope-reorder || status=$?
exit "$status"
