# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash

# within SECONDS COMMAND...: its exit status, or 124 after the deadline. The command is then given
# up and not waited for, since a task that is blocked on a frozen filesystem cannot be killed. Never
# use it in a pipe: such a task keeps the pipe open.
within() {
	local seconds=$1 status=0 pid timer
	shift
	"$@" &
	pid=$!
	sleep "$seconds" &
	timer=$!
	wait -n "$pid" "$timer" || status=$?
	if kill "$timer" 2>/dev/null; then
		wait "$timer" 2>/dev/null || true
		return "$status"
	fi
	kill -KILL "$pid" 2>/dev/null || true
	echo "  given up after $seconds s: $*"
	return 124
}
