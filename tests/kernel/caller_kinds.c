/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Other kinds of callers: 32-bit, in a Landlock sandbox, in a user or pid namespace. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "harness.h"

/* ---- 32-bit ---------------------------------------------------------------------------------- */

#ifdef __x86_64__

/* 64-bit code can use the kernel's 32-bit entry if its pointers fit into 32 bits. */
static int ioctl_32(int fd, unsigned int code, uint32_t argument) {
    long result;

    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(54L), "b"((long)fd), "c"((long)code), "d"((long)argument)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

static int op_ioctl_32(long code, long argument, long c) {
    return ioctl_32(here, (unsigned int)code, (uint32_t)argument);
}

static int op_timeout_32(long code, long timeout, long c) {
    __s64* low = mmap(NULL, sizeof(*low), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED)
        return -errno;
    *low = timeout;
    int result = ioctl_32(here, (unsigned int)code, (uint32_t)(uintptr_t)low);
    munmap(low, sizeof(*low));
    return result;
}

static int timeout_32(struct actor* who, unsigned int code, int64_t timeout) {
    return call(who, op_timeout_32, (long)code, timeout, 0);
}

static void old_requests_32(void) {
    struct actor* who = actor();

    WANT(0, call(who, op_ioctl_32, FIFREEZE, 0, 0));
    struct actor* writer = FROZEN();
    WANT(0, call(who, op_ioctl_32, FITHAW, -1, 0));
    RELEASED(writer);
    WANT(-EINVAL, call(who, op_ioctl_32, FITHAW, 0, 0));
}

static void new_requests_32(void) {
    struct actor *who = actor(), *native = actor();

    WANT(0, timeout_32(who, FIFREEZE_TIMEOUT, 600));
    WANT(0, freeze(native));
    WANT(0, timeout_32(who, FIFREEZE_RESET_TIMEOUT, SHORT));
    struct report start = who->last;
    struct actor* writer = FROZEN();
    WANT(0, thaw(native));
    RELEASED_AFTER(writer, &start, SHORT);
    WANT(-EINVAL, timeout_32(who, FIFREEZE_RESET_TIMEOUT, SHORT));
    WANT(-EINVAL, call(who, op_ioctl_32, FITHAW, 0, 0));
}

/* All eight bytes of the timeout count. */
static void wide_timeout_32(void) {
    struct actor *who = actor(), *other = actor();

    WANT(-ERANGE, timeout_32(who, FIFREEZE_TIMEOUT, -(1ll << 32)));
    WANT(-ERANGE, timeout_32(who, FIFREEZE_RESET_TIMEOUT, -1));
    WANT(-EFAULT, call(who, op_ioctl_32, FIFREEZE_TIMEOUT, 0, 0));
    WANT(-EFAULT, call(who, op_ioctl_32, FIFREEZE_RESET_TIMEOUT, 16, 0));
    WANT(-EINVAL, admin_thaw());
    WANT(0, timeout_32(who, FIFREEZE_TIMEOUT, (1ll << 32) + 2));
    WANT(0, timeout_32(other, FIFREEZE_TIMEOUT, LLONG_MAX));
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(0, thaw(other));
    CHECK(blocks(writer), "the first of two holds has ended");
    WANT(0, thaw(who));
    RELEASED(writer);
}

static int op_argument_32(long value, long b, long c) {
    int32_t* low = mmap(NULL, sizeof(*low), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED)
        return -errno;
    *low = (int32_t)value;
    return ioctl_32(here, FIFREEZE, (uint32_t)(uintptr_t)low);
}

static void timeout_argument_32(void) {
    struct actor *who = actor(), *plain = actor();

    CHECK(write_file(FREEZE_TIMEOUT_ARG, "1") > 0, "no %s", FREEZE_TIMEOUT_ARG);
    WANT(0, call(plain, op_argument_32, 1, 0, 0));
    WANT(0, call(who, op_argument_32, SHORT, 0, 0));
    struct actor* writer = FROZEN();
    sleep_past(SHORT);
    STILL_FROZEN(writer);
    WANT(-EINVAL, thaw(who));
    WANT(0, thaw(plain));
    RELEASED(writer);
    WANT(-ERANGE, call(who, op_argument_32, -1, 0, 0));
}

#else
static void old_requests_32(void) {}
static void new_requests_32(void) {}
static void wide_timeout_32(void) {}
static void timeout_argument_32(void) {}
#endif

/* ---- Landlock -------------------------------------------------------------------------------- */

#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_RESTRICT_SELF 446
static const uint64_t landlock_ioctl_dev = 1ull << 15;
static const __s64 thirty = 30, negative = -1;

static int op_sandbox(long a, long b, long c) {
    int rules =
        (int)syscall(LANDLOCK_CREATE_RULESET, &landlock_ioctl_dev, sizeof(landlock_ioctl_dev), 0);
    if (rules < 0)
        return -errno;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(LANDLOCK_RESTRICT_SELF, rules, 0))
        return -errno;
    close(rules);
    return 0;
}

static int op_on_device(long code, long argument, long path) {
    int fd = openat(here, (const char*)path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = result_of(ioctl(fd, (unsigned long)code, argument));
    close(fd);
    return result;
}

static int op_make_device(long a, long b, long c) {
    unlinkat(here, "null", 0);
    return result_of(mknodat(here, "null", S_IFCHR | 0600, makedev(1, 3)));
}

static struct actor* sandboxed(void) {
    struct actor* who = actor();
    int result = call(who, op_sandbox, 0, 0, 0);

    if (result == -ENOSYS || result == -EOPNOTSUPP || result == -EINVAL)
        unavailable("Landlock, with the right to ioctl on devices");
    SETUP(result);
    /* The sandbox must work, or the test would prove nothing. */
    result = call(who, op_on_device, _IO('T', 0x7f), 0, (long)"/dev/null");
    if (result != -EACCES)
        broken_at(__FILE__, __LINE__, "the sandbox allows ioctl: %s", result_name(result));
    return who;
}

#define ON_DEVICE(who, code, argument, path)                                                       \
    call(who, op_on_device, (long)(code), (long)(argument), (long)(path))

static void landlock_old(void) {
    SETUP(call(actor(), op_make_device, 0, 0, 0));
    struct actor* who = sandboxed();

    WANT(-EOPNOTSUPP, ON_DEVICE(who, FIFREEZE, 0, "/dev/null"));
    WANT(-EINVAL, ON_DEVICE(who, FITHAW, 0, "/dev/null"));
    WANT(0, ON_DEVICE(who, FIFREEZE, 0, "null")); /* freezes the filesystem of the device node */
    struct actor* writer = FROZEN();
    WANT(0, ON_DEVICE(who, FITHAW, 0, "null"));
    RELEASED(writer);
}

static void landlock_new(void) {
    SETUP(call(actor(), op_make_device, 0, 0, 0));
    struct actor* who = sandboxed();

    WANT(-EOPNOTSUPP, ON_DEVICE(who, FIFREEZE_TIMEOUT, &thirty, "/dev/null"));
    WANT(-EINVAL, ON_DEVICE(who, FIFREEZE_RESET_TIMEOUT, &thirty, "/dev/null"));
    WANT(0, ON_DEVICE(who, FIFREEZE_TIMEOUT, &thirty, "null"));
    struct actor* writer = FROZEN();
    WANT(0, ON_DEVICE(who, FIFREEZE_RESET_TIMEOUT, &thirty, "null"));
    WANT(0, ON_DEVICE(who, FITHAW, 0, "null"));
    RELEASED(writer);
}

/* ---- user namespace -------------------------------------------------------------------------- */

static int op_enter_user_namespace(long a, long b, long c) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
        return -errno;
    return write_file("/proc/self/uid_map", "0 0 1") > 0 ? 0 : -errno;
}

static int op_on_own_tmpfs(long code, long argument, long c) {
    static int root = -1;

    if (root < 0 && mount("tmpfs", "/mnt", "tmpfs", 0, NULL) == 0)
        root = open("/mnt", O_RDONLY | O_CLOEXEC);
    if (root < 0)
        return -ENOENT;
    return result_of(ioctl(root, (unsigned long)code, argument));
}

static struct actor* in_user_namespace(void) {
    struct actor* who = actor();
    int result = call(who, op_enter_user_namespace, 0, 0, 0);

    if (result == -EINVAL)
        unavailable("user namespaces");
    SETUP(result);
    return who;
}

static void user_namespace_old(void) {
    struct actor* who = in_user_namespace();

    WANT(-EPERM, freeze(who));
    WANT(-EPERM, thaw(who));
    WANT(-EOPNOTSUPP, call(who, op_on_own_tmpfs, FIFREEZE, 0, 0));
    WANT(-EINVAL, call(who, op_on_own_tmpfs, FITHAW, 0, 0));
}

/* Root of a user namespace has the privilege only on filesystems mounted in it. */
static void user_namespace_new(void) {
    struct actor* who = in_user_namespace();

    WANT(-EPERM, freeze_for(who, 30));
    WANT(-EPERM, freeze_for(who, -1));
    WANT(-EPERM, request(who, FIFREEZE_TIMEOUT, 0));
    WANT(-EPERM, reset(who, 30));
    WANT(-EPERM, reset(who, -1));
    WANT(-EPERM, request(who, FIFREEZE_RESET_TIMEOUT, 0));
    WANT(-EOPNOTSUPP, call(who, op_on_own_tmpfs, FIFREEZE_TIMEOUT, (long)&thirty, 0));
    WANT(-EINVAL, call(who, op_on_own_tmpfs, FIFREEZE_RESET_TIMEOUT, (long)&thirty, 0));
    WANT(-ERANGE, call(who, op_on_own_tmpfs, FIFREEZE_RESET_TIMEOUT, (long)&negative, 0));
}

/* Root of a user namespace cannot undo a freeze from outside. */
static void user_namespace_cannot_rescue(void) {
    struct actor *owner = actor(), *who = in_user_namespace();

    WANT(0, freeze_for(owner, 600));
    struct actor* writer = FROZEN();
    WANT(-EPERM, thaw(who));
    WANT(-EPERM, reset(who, SHORT));
    CHECK(blocks(writer), "thawed without privilege");
    WANT(0, thaw(owner));
    RELEASED(writer);
}

/* ---- pid namespace --------------------------------------------------------------------------- */

static int op_new_pid_namespace(long a, long b, long c) {
    return result_of(unshare(CLONE_NEWPID));
}

static int op_name(long a, long b, long c) {
    return getpid() == 1 ? result_of(prctl(PR_SET_NAME, "abi-inner")) : -ESRCH;
}

struct actor* in_pid_namespace(void) {
    struct actor* outer = actor();

    SETUP(call(outer, op_new_pid_namespace, 0, 0, 0));
    struct actor* inner = actor_forked_by(outer);
    SETUP(call(inner, op_name, 0, 0, 0));
    return inner;
}

static void pid_namespace_owner(void) {
    struct actor *inner = in_pid_namespace(), *other = in_pid_namespace();

    WANT(0, freeze(inner));
    struct actor* writer = FROZEN();
    WANT(0, freeze(inner));
    WANT(0, thaw(other)); /* also pid 1, but an administrator */
    WANT(-EINVAL, thaw(inner));
    CHECK(blocks(writer), "thawed while a hold is left");
    WANT(0, thaw(inner));
    RELEASED(writer);
}

static void pid_namespace_warning(void) {
    int mark = mark_log();
    struct actor* inner = in_pid_namespace();
    char number[12], period[12], line[LOG_LINE] = "";
    const char* const words[] = {volume.type, volume.id, number, "abi-inner", period, NULL};

    snprintf(period, sizeof(period), "%d", SHORT);
    snprintf(number, sizeof(number), "%d", inner->pid);
    WANT(0, freeze_for(inner, SHORT));
    struct report start = inner->last;
    struct actor* writer = FROZEN();
    RELEASED_AFTER(writer, &start, SHORT);
    sleep_ms((int)(300 * slowness()));
    int count = log_count(mark, words, line);
    CHECK(count == 1, "%d lines contain %s, %s, %s, abi-inner and %s", count, volume.type,
          volume.id, number, period);
    WANT(-EINVAL, thaw(inner));
}

static const struct test caller_kinds_tests[] = {
    {"caller_kinds.old_requests_32", "32-bit: FIFREEZE and FITHAW", old_requests_32, SAME_ON_STOCK,
     NEEDS_32BIT},
    {"caller_kinds.new_requests_32", "32-bit: freeze with timeout, and reset", new_requests_32,
     FAILS_ON_STOCK, NEEDS_32BIT},
    {"caller_kinds.wide_timeout_32", "32-bit: errors, and timeouts of eight bytes", wide_timeout_32,
     FAILS_ON_STOCK, NEEDS_32BIT},
    {"caller_kinds.timeout_argument_32", "32-bit: freeze_timeout_arg=1", timeout_argument_32,
     FAILS_ON_STOCK, NEEDS_32BIT | ALONE},
    {"caller_kinds.landlock_old", "Landlock allows FIFREEZE and FITHAW", landlock_old,
     SAME_ON_STOCK, NEEDS_LANDLOCK_IOCTL},
    {"caller_kinds.landlock_new", "Landlock allows the new requests", landlock_new, FAILS_ON_STOCK,
     NEEDS_LANDLOCK_IOCTL},
    {"caller_kinds.user_namespace_old", "user namespace: FIFREEZE and FITHAW return EPERM",
     user_namespace_old, SAME_ON_STOCK, 0},
    {"caller_kinds.user_namespace_new", "user namespace: the new requests return EPERM",
     user_namespace_new, FAILS_ON_STOCK, 0},
    {"caller_kinds.user_namespace_rescue", "user namespace: EPERM for a thaw of another's freeze",
     user_namespace_cannot_rescue, FAILS_ON_STOCK, 0},
    {"caller_kinds.pid_namespace_owner", "pid namespace: pid 1 of one is not pid 1 of another",
     pid_namespace_owner, FAILS_ON_STOCK, 0},
    {"caller_kinds.pid_namespace_warning", "pid namespace: the log shows the outer pid",
     pid_namespace_warning, FAILS_ON_STOCK, 0},
};
TOPIC(caller_kinds);
