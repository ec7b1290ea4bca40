/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "environment.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- cgroups ----------------------------------------------------------------------------------*/
/* cgroup.kill and the freezers of the caller's cgroups must not reach the guardian. */

static bool write_text(const char* path, const char* text) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    const ssize_t length = write(fd, text, strlen(text));
    close(fd);
    return length >= 0;
}

/* Whether a line of /proc/self/cgroup says that this process is in the root of the hierarchy. */
static bool is_in_root(const char* line) {
    return strcmp(line + strlen(line) - 2, "/\n") == 0 && line[strlen(line) - 3] == ':';
}

/* Finds the line of a hierarchy, such as ":freezer:" or "0::". */
static bool find_hierarchy(const char* name, char* line, int size) {
    FILE* file = fopen("/proc/self/cgroup", "re");
    bool found = false;

    while (file && !found && fgets(line, size, file))
        found = strstr(line, name) != NULL;
    if (file)
        fclose(file);
    return found;
}

static bool must_leave(const char* name) {
    char line[1024];

    return find_hierarchy(name, line, sizeof(line)) && strlen(line) > 3 && !is_in_root(line);
}

static const char* unified_root(void) {
    struct statfs status;

    if (!statfs("/sys/fs/cgroup", &status) && status.f_type == CGROUP2_SUPER_MAGIC)
        return "/sys/fs/cgroup";
    return "/sys/fs/cgroup/unified";
}

static void leave_freezer(void) {
    if (must_leave(":freezer:"))
        write_text("/sys/fs/cgroup/freezer/cgroup.procs", "0");
}

/* Moving a process waits for an RCU grace period; starting it in the right place does not. */
static pid_t fork_into(int cgroup) {
    struct clone_args arguments = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned int)cgroup};

    return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
}

static void join_unified_root(void) {
    char path[64];

    snprintf(path, sizeof(path), "%s/cgroup.procs", unified_root());
    write_text(path, "0");
}

/* Like fork(), but the child is in the root cgroup if possible. The child must fork again: the C
 * library does not know its thread id. */
static pid_t fork_into_root(void) {
    const bool leave = must_leave("0::");
    const int root = leave ? open(unified_root(), O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    pid_t child = root >= 0 ? fork_into(root) : -1;

    if (root >= 0)
        close(root);
    if (child >= 0)
        return child;
    child = fork();
    if (child == 0 && leave)
        join_unified_root();
    return child;
}

/* ---- the process ------------------------------------------------------------------------------*/

/* Double fork, so that the caller gains no unexpected child. */
bool detach_from_caller(void) {
    pid_t child = fork_into_root();

    if (child > 0)
        _exit(0);
    if (child < 0)
        return false;
    setsid();
    child = fork();
    if (child > 0)
        _exit(0);
    if (child < 0)
        return false;
    leave_freezer();
    return true;
}

void block_signals(void) {
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
}

static void close_between(unsigned int first, unsigned int last) {
    if (first <= last && syscall(SYS_close_range, first, last, 0U) != 0 && last != ~0U)
        for (unsigned int fd = first; fd <= last; ++fd)
            close((int)fd);
}

static void close_from(unsigned int first) {
    struct rlimit limit;

    if (syscall(SYS_close_range, first, ~0U, 0U) == 0 || getrlimit(RLIMIT_NOFILE, &limit))
        return;
    close_between(first, limit.rlim_cur > 65536 ? 65536U : (unsigned int)limit.rlim_cur);
}

void close_descriptors(int channel) {
    for (int fd = 0; fd < 3; ++fd) {
        close(fd);
        (void)!open("/dev/null", O_RDWR); /* the lowest descriptor is this one */
    }
    close_between(3, (unsigned int)channel - 1);
    close_from((unsigned int)channel + 1);
    fcntl(channel, F_SETFD, FD_CLOEXEC);
}

/* Memory that is swapped out to, or mapped from, the frozen filesystem would stop the guardian. */
void protect_memory(void) {
    struct rlimit limit;

    mallopt(M_ARENA_MAX, 1);
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)mlockall(MCL_CURRENT | MCL_FUTURE);
    write_text("/proc/self/oom_score_adj", "-1000");
}
