#!/usr/bin/env bash
# From a fresh machine to a model of all seven tasks, on the embedded data set:
# prepare -> build ids -> tokenize -> train -> evaluate -> recommend -> report,
# and a page of worked examples. Safe to repeat: training that is done is not
# done again. At most ten minutes on 2 cores.
#
#   tools/quickstart.sh [RUN_DIR]
set -euo pipefail
run_dir=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../runs/quickstart}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/environment.sh

started=$(date +%s)
prepare_environment all

genrec() {
  printf '\n── genrec %s\n' "$*"
  .venv/bin/genrec "$@"
}

for command in prepare build_ids tokenize train evaluate recommend report; do
  genrec "$command" --run_dir="$run_dir" \
    --gin_file=experiments/quickstart.gin
done
genrec try --run_dir="$run_dir" --page
echo "Done in $(($(date +%s) - started)) s."
