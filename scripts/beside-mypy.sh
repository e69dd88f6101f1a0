#!/bin/sh
# Run a command, the tests, while mypy looks at the types: it takes half a minute, and one processor, where no earlier run
# has left it anything. What it says comes last, where it is seen. Fails if one of the two does.
#
#   beside-mypy.sh FOLDER COMMAND…        mypy is that of the environment in FOLDER
folder=$1
shift

said=$(mktemp)
trap 'kill "$types" 2>/dev/null; rm -f "$said"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

"$folder/bin/mypy" >"$said" 2>&1 &
types=$!

status=0
"$@" || status=$?
wait "$types" || [ "$status" -ne 0 ] || status=1
cat "$said"
exit "$status"
