#!/bin/sh
# Tells the team's chat; takes whatever it is given. 15 ms.
sleep 0.015
printf 'posted: %s\n' "$(head -c 60)"
