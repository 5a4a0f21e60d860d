#!/usr/bin/env bash
# Installs what the full tests need: programs, by their packages' names.
set -euo pipefail
cd "$(dirname "$0")/.."

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
missing=()
for program in git gcc python3 bwrap setpriv unshare script; do
    command -v "$program" >/dev/null || missing+=("$program")
done
# ensurepip comes in a package of its own on Debian.
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
# The agents' programs come from npm.
command -v npm >/dev/null || missing+=(nodejs npm)
if [ ${#missing[@]} -gt 0 ]; then
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        git gcc libc6-dev python3 python3-venv bubblewrap util-linux bsdutils >/dev/null
    command -v npm >/dev/null || $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends nodejs npm >/dev/null
fi
