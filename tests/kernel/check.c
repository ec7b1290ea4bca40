/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a test ends before its end. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

struct note* note;

static void say(const char* file, int line, const char* format, va_list arguments) {
    const char* base = strrchr(file, '/');

    printf("#   %s:%d: ", base ? base + 1 : file, line);
    vprintf(format, arguments);
    printf("\n");
}

void fail_at(const char* file, int line, const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    say(file, line, format, arguments);
    va_end(arguments);
    _exit(FAILED);
}

void broken_at(const char* file, int line, const char* format, ...) {
    va_list arguments;

    va_start(arguments, format);
    say(file, line, format, arguments);
    va_end(arguments);
    _exit(BROKEN);
}

void want_at(const char* file, int line, const char* call, int expected, int got) {
    if (got == expected)
        return;
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "%s", result_name(expected));
    fail_at(file, line, "%s: %s, not %s", call, result_name(got), wanted);
}

void lacking(const char* what) {
    snprintf(note->lacks, sizeof(note->lacks), "%s", what);
    _exit(SKIPPED);
}

void spoilt(void) {
    note->spoilt = true;
}

const char* result_name(int result) {
    static char text[32];

    if (result == BLOCKED)
        return "no answer (blocked)";
    if (result == DIED)
        return "the end of the process";
    if (result < 0 && strerrorname_np(-result))
        return strerrorname_np(-result);
    snprintf(text, sizeof(text), "%d", result);
    return text;
}
