# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# bash completion for freezectl(8)

_freezectl() {
	local word=$2 before=$3 command=${COMP_WORDS[1]-} options i
	COMPREPLY=()
	compopt -o filenames 2>/dev/null
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "run freeze thaw extend status probe --help --version" -- "$word")
		return
	fi
	case $command in
	run)
		for ((i = 2; i < COMP_CWORD; i++)); do
			if [[ ${COMP_WORDS[i]} == -- ]]; then
				if ((i + 1 == COMP_CWORD)); then
					mapfile -t COMPREPLY < <(compgen -c -- "$word")
				else
					mapfile -t COMPREPLY < <(compgen -f -- "$word")
				fi
				return
			fi
		done
		options="-t --timeout -v --verbose -q --quiet --json -h --help --"
		;;
	freeze) options="-t --timeout -v --verbose -q --quiet --json -h --help" ;;
	extend) options="-t --timeout -v --verbose --json -h --help" ;;
	thaw) options="-v --verbose --json -h --help" ;;
	status | probe) options="--json -h --help" ;;
	*) return ;;
	esac
	if [[ $before == -t || $before == --timeout ]]; then
		mapfile -t COMPREPLY < <(compgen -W "10s 30s 1m 5m" -- "$word")
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}
complete -F _freezectl freezectl
