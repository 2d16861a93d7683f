#!/usr/bin/env bash
# Set-up, then the demonstration; arguments go to tools/demo.py.
set -euo pipefail

# shellcheck source=tools/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec "$python" "$root/tools/demo.py" "$@"
