#!/bin/sh
# The payload is a thumbnail's path, the key its album: make the album's contact sheet anew from the
# thumbnails that have come so far. One album's come one after another (order: key).
set -e
IFS= read -r thumbnail || [ -n "$thumbnail" ]
list=var/thumbnails/albums/$WEIR_KEY.list
sheet=var/thumbnails/$WEIR_KEY.jpg
grep -qxF "$thumbnail" "$list" 2>/dev/null || printf '%s\n' "$thumbnail" >> "$list"
set --
while IFS= read -r path; do set -- "$@" "$path"; done < "$list"
montage "$@" -geometry 160x120+4+4 -tile 4x "jpg:$sheet.$$"
mv "$sheet.$$" "$sheet"
printf '%s now has %s' "$sheet" "$thumbnail"
