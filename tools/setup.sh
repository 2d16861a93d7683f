#!/usr/bin/env bash
# Makes .venv in the project's root with the locked requirements and the package itself. The other scripts source it:
# then `root` and `python` name the project and its interpreter, and the environment keeps TensorFlow's start quiet.
# Nothing is installed again until requirements.txt, setup.py or the project's place changes.
set -euo pipefail

root=${BASH_SOURCE[0]%/*}
[[ $root == "${BASH_SOURCE[0]}" ]] && root=.
root=$(cd "$root/.." && pwd)
python=$root/.venv/bin/python

python_version() { # COMMAND: prints 3.11 and the like; nothing where the command does not run (a shim may be there and fail)
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

fits() { # VERSION
    [[ $1 == 3.9 || $1 == 3.10 || $1 == 3.11 ]]
}

fail() { # MESSAGE
    printf 'error: %s\n' "$1" >&2
    exit 1
}

make_venv() {
    local candidate version found=''
    for candidate in python3.11 python3.10 python3.9 python3 python; do
        version=$(python_version "$candidate")
        [[ -n $version ]] || continue
        if ! fits "$version"; then
            found+="${found:+, }$candidate is $version"
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            found+="${found:+, }$candidate ($version) is without its venv module"
        else
            "$candidate" -m venv --clear "$root/.venv" || fail "$candidate -m venv $root/.venv did not succeed (see above)"
            return
        fi
    done
    if [[ -n $(command -v uv) ]]; then
        rm -rf "$root/.venv"
        uv venv --quiet --python 3.11 --seed "$root/.venv" || fail "uv venv $root/.venv did not succeed (see above)"
        return
    fi
    fail "no Python 3.9, 3.10 or 3.11 found (${found:-no Python at all}); install one (Debian, Ubuntu: python3.11 and python3.11-venv) or uv, then run this again"
}

install() {
    local log=$root/.venv/install.log
    printf 'Installing the requirements: about 2 minutes, log in %s\n' "$log" >&2
    if ! {
        "$python" -m pip install --disable-pip-version-check -r "$root/requirements.txt" &&
            "$python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e "$root"
    } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "the installation did not succeed: its last lines are above, all of them in $log; run this again to retry"
    fi
}

set_up() {
    local stamp=$root/.venv/glnet_tf.stamp wanted
    wanted=$(printf '%s\n' "$root" | cat - "$root/requirements.txt" "$root/setup.py" | cksum)
    if fits "$(python_version "$python")" && [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
        return
    fi
    rm -f "$stamp"
    if ! fits "$(python_version "$python")" || ! "$python" -m pip --version >/dev/null 2>&1; then
        make_venv
    fi
    install
    printf '%s\n' "$wanted" >"$stamp"
}

set_up

# TensorFlow's notes on absent GPU libraries, and the end-of-life notices of packages whose versions are locked on purpose.
quiet=ignore::UserWarning:tensorflow_addons.utils.tfa_eol_msg,ignore::UserWarning:tensorboard.default
quiet+=,ignore::FutureWarning:google.auth,ignore::FutureWarning:google.oauth2
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
export PYTHONWARNINGS=${PYTHONWARNINGS:-$quiet}
