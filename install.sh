#!/bin/sh
# Make .venv with lensscan and the tested versions of what it needs.
# usage: ./install.sh [EXTRA,...]     extras: test, dev, train, clusters, hats, inspector, bench
# A torch that is installed already is kept: the environment then sees it, and its pin is left out.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
  echo "lensscan needs Python 3.11 to 3.13; set PYTHON to one." >&2
  exit 2
}
if "$python" -c 'import torch' 2>/dev/null; then
  "$python" -m venv --system-site-packages .venv
  grep -v '^torch==' constraints.txt > .venv/constraints.txt
else
  "$python" -m venv .venv
  cp constraints.txt .venv/constraints.txt
fi
.venv/bin/python -m pip install --quiet --constraint .venv/constraints.txt --editable ".${1:+[$1]}"
