/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hold PATH TIMEOUT_MS: freezes until the end of its standard input. Strictly C99.
 */
#include <libfreeze/freeze.h>

#include <stdio.h>
#include <stdlib.h>

static int fail(int error) {
    fprintf(stderr, "%d %s\n", -error, libfreeze_error_message());
    return EXIT_FAILURE;
}

int main(int argc, char** argv) {
    struct libfreeze_options options;
    struct libfreeze_guard* guard;
    const char* path;
    int error;

    if (argc != 3)
        return EXIT_FAILURE;
    path = argv[1];
    libfreeze_options_init(&options, sizeof(options));
    options.timeout_ms = atol(argv[2]);
    error = libfreeze_freeze(&path, 1, &options, &guard);
    if (error < 0)
        return fail(error);
    printf("frozen %s\n", libfreeze_guard_id(guard));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    error = libfreeze_guard_thaw(guard);
    libfreeze_guard_free(guard);
    if (error < 0)
        return fail(error);
    puts("thawed");
    return EXIT_SUCCESS;
}
