/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starts a guardian. Descriptor 3 is a connection to its first client, or, if systemd or
 * systemd-socket-activate has started it, a listening socket: each connection to that gets a
 * guardian.
 */
#include "environment.h"
#include "guardian.h"
#include "protocol.h"
#include "syscalls.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The environment variable is for tests. */
static const char* runtime_directory(void) {
    const char* chosen = secure_getenv("LIBFREEZE_RUNTIME_DIR");
    struct stat status;

    if (chosen && *chosen == '/' && !lstat(chosen, &status) && S_ISDIR(status.st_mode) &&
        status.st_uid == 0)
        return chosen;
    return GUARDIAN_DIRECTORY;
}

/* See sd_listen_fds(3). */
static bool is_socket_activated(void) {
    const char* pid = getenv("LISTEN_PID");

    return pid && strtol(pid, NULL, 10) == getpid();
}

static bool is_listening(int fd) {
    int listening = 0;
    socklen_t size = sizeof(listening);

    return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) && listening;
}

static bool is_root(int fd) {
    struct ucred peer;
    socklen_t size = sizeof(peer);

    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == 0 &&
           sys_is_admin(peer.pid);
}

static int serve(int channel) {
    block_signals();
    close_descriptors(channel);
    if (chdir("/"))
        return EXIT_FAILURE;
    umask(077);
    protect_memory();
    return guardian_run(channel, runtime_directory()) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void start_for(int connection) {
    if (fork() == 0) {
        setsid();
        _exit(serve(connection));
    }
}

/* Ends by a signal only. */
static _Noreturn void accept_clients(int listener) {
    signal(SIGCHLD, SIG_IGN); /* guardians are reaped automatically */
    for (;;) {
        const int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection >= 0 && is_root(connection))
            start_for(connection);
        if (connection >= 0)
            close(connection);
        else if (errno != EINTR && errno != ECONNABORTED)
            sleep(1);
    }
}

int main(void) {
    const bool activated = is_socket_activated();

    if (is_listening(GUARDIAN_CHANNEL))
        accept_clients(GUARDIAN_CHANNEL);
    if (activated)
        return is_root(GUARDIAN_CHANNEL) ? serve(GUARDIAN_CHANNEL) : EXIT_FAILURE;
    return detach_from_caller() ? serve(GUARDIAN_CHANNEL) : EXIT_FAILURE;
}
