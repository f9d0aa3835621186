#!/usr/bin/env bash
# From a fresh machine to generated recommendations, on the embedded data set:
# prepare -> build ids -> tokenize -> train -> evaluate -> recommend -> report.
# Safe to repeat: what is done is not done again. At most ten minutes on 2 cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/environment.sh

started=$(date +%s)
prepare_environment all
run_dir=${1:-runs/quickstart}
.venv/bin/genrec run --run_dir="$run_dir" --gin_file=experiments/quickstart.gin
echo
echo "Done in $(($(date +%s) - started)) s."
