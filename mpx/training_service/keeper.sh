# Leads a trial's process group: runs its command and writes down how that ended.
#
#   sh keeper.sh COMMAND TRIAL_DIRECTORY
#
# While this read end is open, writing to the trial's stdout never fails, with a manager or without.
exec 3<"$2/stdout"
shell=bash
command -v bash >/dev/null 2>&1 || shell=sh
# A handler, where an ignored signal would be inherited: the keeper outlives the grace period, the
# command does not.
trap : TERM INT HUP
"$shell" -c "$1" 3<&-
status=$?
echo "$status" >"$2/exit_status.tmp" && mv "$2/exit_status.tmp" "$2/exit_status"
exit "$status"
