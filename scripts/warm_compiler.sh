#!/usr/bin/env bash
# warm_compiler.sh VENV   links one static program, for which the C compiler first builds its C library and keeps it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo 'int main(void) { return 0; }' >"$folder/program.c"
"$1/bin/python" -m ziglang cc -target "$(uname -m)-linux-musl" -static "$folder/program.c" -o "$folder/program"
