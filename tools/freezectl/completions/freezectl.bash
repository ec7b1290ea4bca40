# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# bash completion for freezectl(8)

# Completes the last part of a list.
_freezectl_list() {
	local word=$1 before=""
	[[ $word == *,* ]] && before=${word%,*},
	mapfile -t COMPREPLY < <(compgen -P "$before" -W "$2" -- "${word##*,}")
}

# Completes the value of an option. Fails if it is not an option that has one.
_freezectl_value() {
	local word=$2
	case $1 in
	-t | --timeout | --acquire-timeout)
		mapfile -t COMPREPLY < <(compgen -W "10s 30s 1m 5m" -- "$word")
		;;
	-T | --types) _freezectl_list "$word" "btrfs ext4 f2fs xfs" ;;
	-x | --exclude | --report) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	-o | --output)
		_freezectl_list "$word" "MOUNTPOINT SOURCE FSTYPE MAJ:MIN PATH OTHERS FREEZABLE STATE SINCE \
			REASON BLOCK KERNEL DIRTY STACKED-ON ID HOLDER COMMAND PID AGE LEFT COMMENT"
		;;
	--id) mapfile -t COMPREPLY < <(compgen -W "$(freezectl status -n -o ID 2>/dev/null)" -- "$word") ;;
	--comment) ;;
	*) return 1 ;;
	esac
}

_freezectl() {
	local word=$2 before=$3 command=${COMP_WORDS[1]-} options i
	local freezing="-t --timeout --acquire-timeout --no-flush --skip-unfreezable
		--allow-self-deadlock --allow-unprotected -a --all -T --types -x --exclude --dry-run
		--comment --report -v --verbose -q --quiet"
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
		options="$freezing --"
		;;
	freeze) options=$freezing ;;
	thaw) options="--id -v --verbose" ;;
	extend) options="-t --timeout --id -v --verbose" ;;
	status) options="-T --types -x --exclude -o --output -n --noheadings --watch" ;;
	probe) options="" ;;
	*) return ;;
	esac
	_freezectl_value "$before" "$word" && return
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options -J --json -h --help" -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
}
complete -F _freezectl freezectl
