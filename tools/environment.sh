# Sourced by the scripts here: finds Python, makes .venv, installs an extra.
# Usage: source environment.sh; prepare_environment EXTRA

# XLA's buffers on a CPU are mapped afresh at each step: huge pages save most
# of the page faults, and a third of the time.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}

fail() {
  printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2
  exit 1
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null; then
      printf '%s' "$candidate"
      return
    fi
  done
  return 1
}

prepare_environment() {
  local extra=$1 python free_mb stamp wanted
  python=$(find_python) || fail "Python 3.11 or newer is needed, and found was \
$(python3 --version 2>&1 || echo none). Install one, or name it: PYTHON=/path/to/python3.12 $0"
  stamp=.venv/installed-$extra
  wanted=$("$python" -c 'import hashlib,sys; print(hashlib.sha256(
open("setup.py","rb").read() + open("pyproject.toml","rb").read()).hexdigest())')
  if [ -x .venv/bin/genrec ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  free_mb=$(df -Pm . | awk 'NR==2 {print $4}')
  [ "$free_mb" -ge 4000 ] || fail "about 4 GB of disk are needed here for the \
packages, and $free_mb MB are free. Free some space, or clone to another disk."
  if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    2>/dev/null; then
    rm -rf .venv
    "$python" -m venv .venv || fail "cannot make a virtual environment with \
$python; on Debian or Ubuntu install python3-venv."
  fi
  echo "Installing genrec_jax[$extra] into $(pwd)/.venv (once; a few minutes)."
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --editable ".[$extra]" || fail "the installation failed (see above). Most \
often the package registry cannot be reached: check the network or the proxy \
and pip's index settings, then run this again; it goes on where it stopped."
  echo "$wanted" >"$stamp"
}
