/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A writer of TAP on standard output. For C and C++. */
#ifndef SUPPORT_TAP_H
#define SUPPORT_TAP_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

void tap_plan(unsigned points); /* before the first point; otherwise tap_finish() prints the plan */
/* A point with that name. Returns @ok. A name that ends in " # SKIP reason" skips it. */
bool tap_point(bool ok, const char* format, ...) __attribute__((format(printf, 2, 3)));
void tap_bail_out(const char* format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Returns the exit status: 0 if no point has failed. */
int tap_finish(void);

#ifdef __cplusplus
}
#endif

#endif
