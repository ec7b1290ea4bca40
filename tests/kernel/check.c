/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks, which end the test when they fail. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

struct note* note;

static void print_at(const char* file, int line, const char* format, va_list arguments) {
    const char* base = strrchr(file, '/');

    printf("#   %s:%d: ", base ? base + 1 : file, line);
    vprintf(format, arguments);
    printf("\n");
}

void fail_at(const char* file, int line, const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    print_at(file, line, format, arguments);
    va_end(arguments);
    _exit(FAILED);
}

void broken_at(const char* file, int line, const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    print_at(file, line, format, arguments);
    va_end(arguments);
    _exit(BROKEN);
}

void want_at(const char* file, int line, const char* call, int expected, int got) {
    if (got == expected)
        return;
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "%s", result_name(expected));
    fail_at(file, line, "%s: %s, expected %s", call, result_name(got), wanted);
}

void unavailable(const char* what) {
    snprintf(note->missing, sizeof(note->missing), "%s", what);
    _exit(SKIPPED);
}

void discard_volume(void) {
    note->discard_volume = true;
}

const char* result_name(int result) {
    static char text[32];

    if (result == BLOCKED)
        return "blocked";
    if (result == DIED)
        return "the process died";
    if (result < 0 && strerrorname_np(-result))
        return strerrorname_np(-result);
    snprintf(text, sizeof(text), "%d", result);
    return text;
}

double seconds(int64_t ns) {
    return (double)ns / 1e9;
}

int block_timeout_ms(void) {
    return (int)(5000 * slowness());
}

void sleep_past(int timeout) {
    sleep_ms((int)(timeout * 1000 + 600 * slowness()));
}

int mark_log(void) {
    int mark = log_mark();

    SETUP(mark);
    return mark;
}
