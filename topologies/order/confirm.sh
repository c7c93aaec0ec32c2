#!/bin/sh
# Confirms a step of an order to its customer. Every 29th step fails the first time it is tried, so
# that the order of what follows is put to the test.
event=$(cat)
step=$(printf '%s' "$event" | sed -n 's/.*"step": *\([0-9]*\).*/\1/p')
if [ $((step % 29)) -eq 0 ] && [ "$WEIR_ATTEMPT" = 1 ]; then
    echo "the mail server is busy" >&2
    exit 75 # EX_TEMPFAIL
fi
printf '%s' "$event"
