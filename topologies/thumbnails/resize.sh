#!/bin/sh
# The payload is a picture's path, the key its album; the result is the path of its thumbnail.
set -e
IFS= read -r picture || [ -n "$picture" ]
thumbnail=var/thumbnails/albums/$WEIR_KEY/$(basename "$picture" .png).jpg
mkdir -p "$(dirname "$thumbnail")"
convert "$picture" -resize 160x120 -quality 85 "jpg:$thumbnail.$$"
mv "$thumbnail.$$" "$thumbnail"
printf '%s' "$thumbnail"
