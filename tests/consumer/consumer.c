/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The same in C99. */
#include <libfreeze/freeze.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void expect(int condition, const char* what) {
    if (!condition) {
        printf("unexpected: %s: %s\n", what, libfreeze_error_message());
        ++failures;
    }
}

int main(void) {
    const char* const path = "/none";
    struct libfreeze_options options;
    struct libfreeze_guard* guard = NULL;
    struct libfreeze_report* report = NULL;
    struct libfreeze_status status;
    const char* const inspected = "/proc";

    libfreeze_options_init(&options, sizeof(options));
    expect(options.cancel_fd == -1 && options.flush_budget_ms > 0, "defaults");
    options.timeout_ms = -1;
    expect(libfreeze_freeze(&path, 1, &options, &guard) == -ERANGE, "a negative timeout");
    options.timeout_ms = 30000;
    expect(libfreeze_freeze(&path, 1, &options, &guard) == -ENOENT, "no such path");
    expect(!guard && strstr(libfreeze_error_message(), "'/none'"), "its message");
    expect(libfreeze_freeze(NULL, 0, NULL, &guard) == -EINVAL, "no paths");
    expect(libfreeze_guard_thaw(NULL) == -EINVAL, "no guard");
    expect(libfreeze_guard_descriptor(NULL) == -EINVAL, "no descriptor");
    expect(libfreeze_guard_count(NULL) == 0, "no filesystems");
    libfreeze_guard_free(NULL);
    expect(libfreeze_inspect(&inspected, 1, 10000, &report) == 0, "inspect");
    expect(libfreeze_report_count(report) == 1, "one filesystem");
    expect(libfreeze_report_status(report, 0, &status, sizeof(status)) == 0 &&
               strcmp(status.filesystem.type, "proc") == 0,
           "its type");
    libfreeze_report_free(report);
    return failures;
}
