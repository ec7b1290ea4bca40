# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# For suites that freeze: filesystems in loop devices, in a mount namespace of their own, thawed and taken down
# whatever happens, and TAP. Source it, then call in_own_mount_namespace "$@" and make_work_directory.

export PATH="$PATH:/usr/sbin:/sbin"
point=0
failed=0
loops=()
exec {never}<> <(:) # nothing ever comes from it

# Runs the suite again in a mount namespace, so that no mount is left behind; skips it all without root.
in_own_mount_namespace() {
    if ((EUID != 0)); then
        echo "1..0 # SKIP needs root, for mounts and freezes"
        exit 0
    fi
    if [[ ${LIBFREEZE_OWN_NAMESPACE-} != "$0" ]]; then
        exec env LIBFREEZE_OWN_NAMESPACE="$0" unshare --mount --propagation private -- "$0" "$@"
    fi
}

make_work_directory() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/libfreeze-test.XXXXXX")
    chmod 755 "$work" # some cases look at it without privilege
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
}

# A child that is gone, or a zombie without other threads: now and then bash 5.2 in an emulated guest does not see the
# end of a child before it starts another.
has_ended() {
    local fields
    { read -r fields <"/proc/$1/stat"; } 2>/dev/null || return 0
    read -ra fields <<<"${fields##*) }" # from the third on: the state, the twentieth: threads
    [[ ${fields[0]} == Z && ${fields[17]} -le 1 ]]
}

# Runs a command in the background and gives it up when its time is over: on a frozen filesystem it cannot be killed.
within() {
    local seconds=$1 pid
    shift
    "$@" </dev/null &
    pid=$!
    for ((i = 0; i < seconds * 50; i++)); do
        if has_ended "$pid"; then
            wait "$pid"
            return
        fi
        read -rt 0.02 -u "$never" || true # sleep(1) takes 40 ms to start in an emulated guest
    done
    kill -KILL "$pid" 2>/dev/null || true
    return 124
}

# Succeeds if it was frozen. On a patched kernel several may hold it.
thaw() {
    local was=1
    for _ in {1..20}; do
        within 10 fsfreeze -u "$1" 2>/dev/null || break
        was=0
    done
    return "$was"
}

# Prints what is mounted in the work directory, the oldest first, escaped as in the mount table.
mounted() {
    local target
    while read -r _ _ _ _ target _; do
        [[ $target != "$work"/* ]] || echo "$target"
    done </proc/self/mountinfo
}

# Thaws all that is mounted in the work directory and prints what was frozen. The oldest first: what is in an image file
# on another could not be thawed before that one.
thaw_all() {
    local target
    while read -r target; do
        target=$(printf '%b' "$target")
        ! thaw "$target" || echo "$target"
    done < <(mounted)
}

clean_up() {
    local target
    thaw_all >/dev/null
    while read -r target; do
        umount -l "$(printf '%b' "$target")" || true
    done < <(mounted | tac)
    for loop in "${loops[@]}"; do
        losetup -d "$loop" || true
    done
    rm -rf "$work"
}

# Sets $device to a new loop device with a filesystem of type $1.
make_device() {
    local image size=512M # XFS takes no less than 300
    [[ $1 != ext4 ]] || size=64M
    image=$(mktemp "$work/$1.XXXXXX") && truncate -s "$size" "$image" || return
    device=$(losetup --find --show "$image") || return
    loops+=("$device")
    "mkfs.$1" -q "$device"
}

# Mounts a new filesystem of type $1 at a directory called $2; sets $device and $mountpoint.
make_filesystem() {
    make_device "$1" || return
    mountpoint=$(mktemp -d "$work/$1.XXXXXX") && chmod 755 "$mountpoint" || return
    mountpoint+="/$2"
    mkdir "$mountpoint" && mount -t "$1" "$device" "$mountpoint"
}

# A test point and, if it failed, the file with its diagnostics.
report() { # ok|failed NAME [FILE with diagnostics]
    point=$((point + 1))
    if [[ $1 == ok ]]; then
        echo "ok $point - $2"
        return
    fi
    failed=$((failed + 1))
    echo "not ok $point - $2"
    [[ -z ${3-} ]] || sed 's/^#* */# /' "$3"
}
