#!/bin/sh
# Sends the welcome mail: the payload is the event, as JSON, on stdin. The provider takes 40 ms, and
# now and then (every 97th user, the first time) does not answer at all.
event=$(cat)
address=$(printf '%s' "$event" | sed -n 's/.*"email": *"\([^"@]*@[^"]*\)".*/\1/p')
user=$(printf '%s' "$event" | sed -n 's/.*"user": *\([0-9]*\).*/\1/p')
if [ -z "$address" ] || [ -z "$user" ]; then
    echo "no mail address in the event: $event" >&2
    exit 65 # EX_DATAERR: can never work
fi
[ $((user % 97)) -eq 0 ] && [ "${WEIR_ATTEMPT:-1}" = 1 ] && sleep 30
sleep 0.04
echo "mailed $address"
