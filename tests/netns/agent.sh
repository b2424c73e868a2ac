#!/usr/bin/env bash
# An agent for xswitch: says the words in a file ("75%", "drain", "up 50%", …) to everybody who connects.
#
#   agent.sh PORT FILE
#
# A real one would look at its machine: echo "$((100 - $(top -bn1 | awk '/^%Cpu/ { print int($2) }')))%"
set -euo pipefail

exec socat "TCP-LISTEN:$1,reuseaddr,fork" "SYSTEM:cat '$2'; echo"
