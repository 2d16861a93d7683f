#!/usr/bin/env bash
# Set-up, lint, format, types and the fast tests, or with --all every test: runs every part, then says which failed. Other
# arguments go to pytest.
set -euo pipefail

# shellcheck source=tools/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

failed=()
chosen=(-m "not slow")
if [[ ${1:-} == --all ]]; then
    chosen=()
    shift
fi

part() { # NAME COMMAND...
    local name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || failed+=("$name")
}

part 'ruff check' "$python" -m ruff check .
part 'ruff format' "$python" -m ruff format --check .
part 'mypy' "$python" -m mypy
# Two processes: tracing, which takes most of the time, uses one core only.
part 'pytest' "$python" -m pytest -n 2 --dist=loadfile --durations=15 "${chosen[@]}" "$@"

if ((${#failed[@]})); then
    printf -v list '%s, ' "${failed[@]}"
    printf 'FAILED: %s\n' "${list%, }" >&2
    exit 1
fi
printf 'All parts passed.\n'
