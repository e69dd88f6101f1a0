#!/bin/sh
# Run a command, the tests, while mypy looks at the types, in the time that the tests leave: half a minute of one processor
# for each system, where no earlier run has left it anything. What it says comes last, where it is seen. Fails if one of
# the two does.
#
#   beside-types.sh TARGET COMMAND…        what make is to do beside the command: types-here, or types
target=$1
shift

said=$(mktemp)
trap 'kill "$types" 2>/dev/null; rm -f "$said"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

nice make --no-print-directory "$target" >"$said" 2>&1 &
types=$!

status=0
"$@" || status=$?
wait "$types" || [ "$status" -ne 0 ] || status=1
cat "$said"
exit "$status"
