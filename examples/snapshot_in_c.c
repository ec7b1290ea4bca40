/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a shell command while filesystems are frozen, in C:
 *
 *     snapshot_in_c "lvcreate -s -n a vg/srv && lvcreate -s -n b vg/db" /srv /var/lib/db
 *
 * Exit status: 0 if the command succeeded and the filesystems stayed frozen.
 */
#include <libfreeze/freeze.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char* what) {
    fprintf(stderr, "snapshot_in_c: %s\n", what);
    return EXIT_FAILURE;
}

int main(int argc, char** argv) {
    struct libfreeze_options options;
    struct libfreeze_guard* guard;

    if (argc < 3)
        return fail("usage: snapshot_in_c COMMAND PATH...");
    libfreeze_options_init(&options, sizeof(options));
    options.timeout_ms = 30000;
    if (libfreeze_freeze((const char* const*)argv + 2, (size_t)argc - 2, &options, &guard) < 0)
        return fail(libfreeze_error_message());
    int status = system(argv[1]);
    int result = libfreeze_guard_thaw(guard);
    if (result < 0)
        fail(libfreeze_error_message());
    if (result == -ESTALE)
        fail("discard the snapshot");
    libfreeze_guard_free(guard); /* tries again if a filesystem is still frozen */
    return status == 0 && result == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
