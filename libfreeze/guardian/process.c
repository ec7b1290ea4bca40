/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"

#include "syscalls.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Fields of /proc/PID/stat after the command. */
enum { STATE = 0, START_TIME = 19 };

static bool read_stat(pid_t pid, char* text, size_t size) {
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    const int fd = sys_open(path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    const ssize_t length = sys_read(fd, text, size - 1);
    sys_close(fd);
    text[length > 0 ? length : 0] = '\0';
    return length > 0;
}

/* The command is in parentheses and may contain some. */
static const char* after_command(const char* text) {
    const char* end = strrchr(text, ')');

    return end && end[1] == ' ' ? end + 2 : "";
}

static void copy_command(const char* text, char* command, size_t size) {
    const char* begin = strchr(text, '(');
    const char* end = strrchr(text, ')');

    if (begin && end && begin < end)
        snprintf(command, size, "%.*s", (int)(end - begin - 1), begin + 1);
}

static uint64_t start_ticks(const char* text) {
    const char* field = after_command(text);

    for (int skipped = 0; field && skipped < START_TIME; ++skipped) {
        field = strchr(field, ' ');
        field = field ? field + 1 : NULL;
    }
    uint64_t ticks = 0;
    return field && sscanf(field, "%" SCNu64, &ticks) == 1 ? ticks : 0;
}

void process_describe(pid_t pid, struct process* process) {
    char text[1024];

    *process = (struct process){.pid = pid};
    if (pid > 0 && read_stat(pid, text, sizeof(text))) {
        copy_command(text, process->command, sizeof(process->command));
        process->start_ticks = start_ticks(text);
    }
}

bool process_has_exited(const struct process* process) {
    char text[1024];

    if (!process->start_ticks)
        return false;
    if (!read_stat(process->pid, text, sizeof(text)))
        return true;
    const char state = after_command(text)[STATE];
    return start_ticks(text) != process->start_ticks || state == 'Z' || state == 'X';
}
