#!/usr/bin/env bash
# demo.sh BIN SEARCH-OPTIONS...   runs the main job into ./demo.
# A finished demo is kept as ./demo.previous, an interrupted one is resumed; the device's profile is reused either way.
set -euo pipefail

bin=$1
shift
cd "$(dirname "$0")/.."

resume=()
if [ -f demo/result.json ]; then
    rm -rf demo.previous
    mv demo demo.previous
elif [ -d demo ]; then
    resume=(--resume)
fi
exec "$bin/search" "$@" --out demo "${resume[@]}"
