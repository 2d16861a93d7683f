#!/usr/bin/env bash
# Makes .venv in the project's root with the locked requirements and the package itself. The other scripts source it:
# then `root` and `python` name the project and its interpreter, and the environment keeps TensorFlow's start quiet.
# Nothing is installed again until the lock, setup.py or the project's place changes.
#
# The Python at hand, newest first, decides the lane: new (3.12, 3.13: the newest TensorFlow) or old (3.9 to 3.11:
# TensorFlow 2.15). GLNET_LANE=new or old chooses one, in an environment of its own (.venv-new, .venv-old); 3.11 can both.
# Where no Python will do, the status is 3.
set -euo pipefail

root=${BASH_SOURCE[0]%/*}
[[ $root == "${BASH_SOURCE[0]}" ]] && root=.
root=$(cd "$root/.." && pwd)
lane=${GLNET_LANE:-}
venv=$root/.venv${lane:+-$lane}
python=$venv/bin/python

fail() { # MESSAGE [STATUS]
    printf 'error: %s\n' "$1" >&2
    exit "${2:-1}"
}

case $lane in
    '') pythons=(3.13 3.12 3.11 3.10 3.9) ;;
    new) pythons=(3.13 3.12 3.11) ;;
    old) pythons=(3.11 3.10 3.9) ;;
    *) fail "GLNET_LANE=$lane: expected new, old, or nothing" ;;
esac

python_version() { # COMMAND: prints 3.11 and the like; nothing where the command does not run (a shim may be there and fail)
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

fits() { # VERSION
    [[ " ${pythons[*]} " == *" $1 "* ]]
}

lock() { # VERSION: prints the lock of its lane
    if [[ $lane != old && ($1 == 3.12 || $1 == 3.13 || $lane == new) ]]; then
        printf '%s\n' "$root/requirements-new.txt"
    else
        printf '%s\n' "$root/requirements.txt"
    fi
}

make_venv() {
    local candidate version found='' candidates=() of_pyenv=()
    # Pythons of pyenv that are not on the PATH will do, but only a lane that was asked for prefers them to older ones.
    for version in "${pythons[@]}"; do
        candidates+=("python$version")
        of_pyenv+=("${PYENV_ROOT:-${HOME:-/}/.pyenv}/versions/$version".*/bin/python)
        [[ -z $lane ]] || candidates+=("${of_pyenv[-1]}")
    done
    candidates+=(python3 python "${of_pyenv[@]}")
    for candidate in "${candidates[@]}"; do
        version=$(python_version "$candidate")
        [[ -n $version ]] || continue
        if ! fits "$version"; then
            found+="${found:+, }$candidate is $version"
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            found+="${found:+, }$candidate ($version) is without its venv module"
        else
            "$candidate" -m venv --clear "$venv" || fail "$candidate -m venv $venv did not succeed (see above)"
            return
        fi
    done
    if [[ -n $(command -v uv) ]]; then
        rm -rf "$venv"
        uv venv --quiet --python "${pythons[0]}" --seed "$venv" || fail "uv venv $venv did not succeed (see above)"
        return
    fi
    fail "no Python of ${pythons[*]} found (${found:-no Python at all}); install one (Debian, Ubuntu: python${pythons[0]} and python${pythons[0]}-venv) or uv, then run this again" 3
}

install() {
    local log=$venv/install.log
    printf 'Installing the requirements: about 2 minutes, log in %s\n' "$log" >&2
    if ! {
        "$python" -m pip install --disable-pip-version-check -r "$(lock "$(python_version "$python")")" &&
            "$python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e "$root"
    } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "the installation did not succeed: its last lines are above, all of them in $log; run this again to retry"
    fi
}

set_up() {
    local stamp=$venv/glnet_tf.stamp wanted
    wanted=$(printf '%s\n' "$root" | cat - "$root"/requirements*.txt "$root/setup.py" | cksum)
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
