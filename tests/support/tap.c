/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned number, failed;
static bool planned;

void tap_plan(unsigned points) {
    planned = true;
    printf("1..%u\n", points);
    fflush(stdout);
}

bool tap_point(bool ok, const char* format, ...) {
    va_list arguments;

    failed += !ok;
    printf("%sok %u - ", ok ? "" : "not ", ++number);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    return ok;
}

void tap_bail_out(const char* format, ...) {
    va_list arguments;

    printf("Bail out! ");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    exit(1);
}

int tap_finish(void) {
    if (!planned)
        tap_plan(number);
    return failed ? 1 : 0;
}
