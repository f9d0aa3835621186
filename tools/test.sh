#!/usr/bin/env bash
# Installs the test extra and runs the whole suite; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/environment.sh

prepare_environment test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest --numprocesses=auto --maxprocesses=4 \
  --dist=loadfile "$@"
