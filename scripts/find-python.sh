#!/bin/sh
# Print the path of a Python that can run this project.
#
#   find-python.sh           the first suitable one (PYTHON=... in the environment overrides)
#   find-python.sh newest    the newest released one on this machine
#   find-python.sh 3.11      one of exactly that version
#
# Candidates are run, not trusted: a pyenv shim may point at nothing, and Debian's Python may lack venv.
set -u

want=${1:-first}
tried=

probe='
import sys
version = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    print("is Python " + version)
elif sys.version_info.releaselevel != "final":
    print("is a pre-release of Python " + version)
else:
    try:
        import ensurepip, sqlite3, ssl, venv
        print("ok %s %s" % (version, sys.executable))
    except ImportError as error:
        print("lacks the module %s (Debian, Ubuntu: apt install python%s-venv)" % (error.name, version))
'

# Sets "found" to the version of a suitable interpreter and "path" to the real one behind a shim, else notes why not.
examine() {
    found=
    answer=$("$1" -I -c "$probe" 2>/dev/null) || answer="does not run"
    case $answer in
        "ok "*)
            answer=${answer#ok }
            found=${answer%% *} path=${answer#* }
            ;;
        *) tried="$tried
  $1 $answer" ;;
    esac
}

give_up() {
    printf '%s%s\n' "$1" "${tried:+ Tried:$tried}" >&2
    exit 1
}

if [ "$want" = first ] && [ -n "${PYTHON:-}" ]; then
    path=$(command -v "$PYTHON") || give_up "PYTHON=$PYTHON: no such command."
    examine "$path"
    [ -n "$found" ] || give_up "PYTHON=$PYTHON cannot be used; Python 3.11 or newer with venv is needed."
    echo "$path"
    exit 0
fi

case $want in
    first | newest) # those of the next years, too
        names="python3 $(i=30; while [ $i -ge 11 ]; do printf 'python3.%s ' $i; i=$((i - 1)); done)python" ;;
    *) names="python$want python3 python" ;;
esac

# PATH first, then where pyenv keeps what its shims would run.
folders=$(printf '%s' "$PATH" | tr ':' '\n')
for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin; do
    [ -d "$folder" ] && folders="$folders
$folder"
done

best= best_minor=0
IFS='
'
for name in $(printf '%s' "$names" | tr ' ' '\n'); do
    for folder in $folders; do
        path=$folder/$name
        [ -f "$path" ] && [ -x "$path" ] || continue
        examine "$path"
        [ -n "$found" ] || continue
        case $want in
            first | "$found")
                echo "$path"
                exit 0
                ;;
            newest)
                if [ "${found#3.}" -gt "$best_minor" ]; then
                    best=$path best_minor=${found#3.}
                fi
                ;;
        esac
    done
done

if [ -n "$best" ]; then
    echo "$best"
elif [ "$want" = first ] || [ "$want" = newest ]; then
    give_up "No suitable Python: install Python 3.11 or newer with venv, or say where it is with PYTHON=/path/to/python."
else
    give_up "No Python $want on this machine."
fi
