#!/usr/bin/env bash
# test.sh BIN PROCESSES   runs the tests: first, alone, those that measure time (whole searches do), then those that may
# share the machine.
# Both parts always run; the status is that of the first part that failed.
set -euo pipefail

bin=$1
processes=$2
cd "$(dirname "$0")/.."

status=0
"$bin/python" -m pytest -q -m 'timing or end_to_end' || status=$?
"$bin/python" -m pytest -q -m 'not timing and not end_to_end' -n "$processes" --dist loadfile || status=$?
exit "$status"
