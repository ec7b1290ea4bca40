/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel_log.h"

#include "system.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char* const emergency_thaw_complete[] = {"Emergency", "Thaw", "complete", NULL};

int log_mark(void) {
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
        return -errno;
    return fd;
}

static bool joined(char left, char right) {
    return (isdigit((unsigned char)left) && isdigit((unsigned char)right)) ||
           (isalpha((unsigned char)left) && isalpha((unsigned char)right));
}

/* As a separate word: 12 is not in 312, but it is in 12s. */
static bool has_word(const char* line, const char* word) {
    size_t length = strlen(word);

    for (const char* at = strstr(line, word); at; at = strstr(at + 1, word))
        if ((at == line || !joined(at[-1], word[0])) && !joined(word[length - 1], at[length]))
            return true;
    return false;
}

static bool has_all(const char* line, const char* const words[]) {
    for (; *words; words++)
        if (!has_word(line, *words))
            return false;
    return true;
}

int log_count(int mark, const char* const words[], char* line) {
    char record[2048]; /* with what precedes the line itself */
    ssize_t length;
    int count = 0;

    while ((length = read(mark, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
        if (length <= 0)
            continue;
        record[length] = 0;
        record[strcspn(record, "\n")] = 0;
        const char* text = strchr(record, ';');
        if (!text || !has_all(text + 1, words))
            continue;
        count++;
        if (line)
            snprintf(line, LOG_LINE, "%.*s", LOG_LINE - 1, record);
        errno = 0;
    }
    return count;
}

int log_wait(int mark, const char* const words[], char* line, int within_ms) {
    int count = log_count(mark, words, line);

    for (int waited = 0; !count && waited < within_ms; waited += 5) {
        sleep_ms(5);
        count = log_count(mark, words, line);
    }
    return count;
}
