#!/usr/bin/env bash
# apt_install.sh PURPOSE PACKAGE...   installs Debian packages where that is possible and allowed;
# otherwise says in one line what is missing and what it is for, and fails.
set -euo pipefail

purpose=$1
shift
as_root=()
[ "$EUID" = 0 ] || as_root=(sudo -n)

missing() {
    echo "missing: $* (needed for $purpose); as root: apt-get install $*" >&2
    exit 1
}

command -v apt-get >/dev/null || missing "$@"
if [ ${#as_root[@]} -gt 0 ] && ! sudo -n true 2>/dev/null; then missing "$@"; fi

echo "installing $* with apt-get, for $purpose" >&2
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
{ "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"; } >/dev/null || missing "$@"
