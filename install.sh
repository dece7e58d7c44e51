#!/bin/sh
# Make .venv with lensscan and the tested versions of what it needs.
# usage: ./install.sh [EXTRA,...]     extras: test, dev, train, clusters, hats, onnx, inspector, bench
# A torch that is installed already is kept: the environment then sees it, and its pin is left out.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
  echo "lensscan needs Python 3.11 to 3.13; set PYTHON to one." >&2
  exit 2
}
has_torch='import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'
if "$python" -c "$has_torch"; then
  "$python" -m venv --system-site-packages .venv
else
  "$python" -m venv .venv
fi
# Asked of the new environment: a torch in another virtual one is out of its sight.
if .venv/bin/python -c "$has_torch"; then
  grep -v '^torch==' constraints.txt > .venv/constraints.txt
else
  cp constraints.txt .venv/constraints.txt
fi
.venv/bin/python -m pip install --quiet --constraint .venv/constraints.txt --editable ".${1:+[$1]}"
# Compiled once here, twenty seconds that the first scan need not take; it is kept beside the source.
.venv/bin/python -m pipeline.scan.rehearsal
