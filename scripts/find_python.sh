#!/usr/bin/env bash
# Prints the first Python of this machine that pocketbert can use; $PYTHON, when set, is the only candidate.
set -euo pipefail

usable='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'
for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$usable" 2>/dev/null; then
        exec "$candidate" -c 'import sys; print(sys.executable)'
    fi
done
echo "pocketbert needs Python 3.11, 3.12, 3.13 or 3.14${PYTHON:+, and PYTHON=$PYTHON is none of them}: install one, or set PYTHON=/path/to/python" >&2
exit 1
