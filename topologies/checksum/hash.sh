#!/bin/sh
# The payload is a path; the result is what sha256sum prints of it.
IFS= read -r path || [ -n "$path" ] || exit 65
exec sha256sum -- "$path"
