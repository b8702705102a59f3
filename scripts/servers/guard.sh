#!/bin/sh
# Outlives the process that started the servers, and cleans up after it.
#
# The one that starts servers holds the writing end of our standard input. It writes
#   watch <pid> <signal>    this process group is ours; end it with this signal
#   drop <pid>              it has ended
# and when the pipe closes, because it was told to or because that process died in whatever way,
# the groups are ended and the command given as our arguments is run.
trap '' INT TERM HUP

watched=''
while read -r verb pid signal; do
  case $verb in
    watch) watched="$watched $pid:$signal" ;;
    drop)
      kept=''
      for entry in $watched; do [ "${entry%%:*}" = "$pid" ] || kept="$kept $entry"; done
      watched=$kept
      ;;
  esac
done

for entry in $watched; do
  kill -s "${entry##*:}" -- "-${entry%%:*}"
  kill -s CONT -- "-${entry%%:*}" # a stopped process hears no signal but KILL
done
for entry in $watched; do
  tries=50
  while [ $tries -gt 0 ] && kill -s 0 -- "-${entry%%:*}"; do
    sleep 0.1
    tries=$((tries - 1))
  done
  kill -s KILL -- "-${entry%%:*}"
done
exec "$@"
