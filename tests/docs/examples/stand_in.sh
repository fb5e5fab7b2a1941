#!/bin/bash
# Stands in for a program that an example of the documentation starts: writes down its name, folder,
# arguments and environment, and prints what the next command of the example needs. Examples run
# with a link to this file for each program that would reach a network or change the machine. `rm`
# is one of them: the command lines are looked at afterwards, with the files that they name.
set -eu
name=${0##*/}
[ "$name" != sudo ] || exec "$@"
record=$(/usr/bin/mktemp "$EXAMPLE_RECORDS/XXXXXX")
{
  printf '%s\0' "$name" "$PWD" "$#" "$@"
  /usr/bin/env -0
} > "$record"
# What is piped in is read to its end, so that the writer is not cut off.
[ -t 0 ] || /bin/cat > /dev/null
[ "$name" = kubectl ] || exit 0
case "$*" in
  *certificate-authority-data* | *'get secret'*) /usr/bin/base64 "$EXAMPLE_FILES/target-ca.crt" ;;
  *'create token'*) echo eyJhbGciOiJub25lIn0.eyJzdWIiOiJleGFtcGxlIn0.c2lnbmF0dXJl ;;
esac
