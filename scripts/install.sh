#!/usr/bin/env bash
# install.sh VENV REQUIREMENT   creates the virtual environment if need be, and installs the project into it, editable.
set -euo pipefail

venv=$1
requirement=$2
cd "$(dirname "$0")/.."

if [ ! -x "$venv/bin/pip" ]; then
    python=$(scripts/find_python.sh)
    # Debian's own Python comes without what `venv` needs.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        scripts/apt_install.sh "virtual environments" "python$version-venv"
    fi
    echo "creating $venv with $python" >&2
    "$python" -m venv --clear "$venv"
fi

echo "installing pocketbert and what it needs into $venv (a few minutes the first time)" >&2
# Bytecode is made when a module is first imported: of 16,000 modules that are installed, few ever are.
pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile)

# The C compiler comes first: at its first use it builds its C library, half a minute of a core, while pip, which waits
# for the network and fills one core, brings the rest.
"${pip[@]}" "$(sed -n 's/^ *"\(ziglang[^"*]*\)",$/\1/p' pyproject.toml)"
scripts/warm_compiler.sh "$venv" &
warming=$!
"${pip[@]}" --editable "$requirement"
wait "$warming" || echo "the C compiler could not link a program (see above): compiling models will fail" >&2
