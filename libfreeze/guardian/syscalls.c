/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "syscalls.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Small, because it is locked in memory. */
enum { STACK_SIZE = 64 * 1024 };

int64_t sys_now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

void* sys_allocate(size_t size) {
    return calloc(1, size);
}

int sys_create_thread(pthread_t* thread, void* (*start)(void*), void* argument) {
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);

    if (error)
        return error;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    error = pthread_create(thread, &attributes, start, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

uid_t sys_geteuid(void) {
    return geteuid();
}

/* See proc_pid_status(5). */
int sys_is_admin(pid_t pid) {
    char path[32], text[4096];

    if (pid == 0)
        return 1; /* outside of this PID namespace */
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    const ssize_t length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    const char* effective = strstr(text, "\nCapEff:");
    return effective && (strtoull(effective + 8, NULL, 16) >> CAP_SYS_ADMIN & 1);
}

int sys_outlives_namespaces(void) {
    const ino_t initial = 4026531836; /* PROC_PID_INIT_INO in the kernel */
    struct stat status;

    return stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == initial;
}

int sys_getrandom(void* data, size_t size) {
    return getrandom(data, size, 0) == (ssize_t)size ? 0 : -1;
}

int sys_open(const char* path, int flags, mode_t mode) {
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
}

int sys_close(int fd) {
    return close(fd);
}

int sys_eventfd(void) {
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

ssize_t sys_read(int fd, void* data, size_t size) {
    return read(fd, data, size);
}

ssize_t sys_write(int fd, const void* data, size_t size) {
    return write(fd, data, size);
}

ssize_t sys_pwrite(int fd, const void* data, size_t size, off_t offset) {
    return pwrite(fd, data, size, offset);
}

int sys_ftruncate(int fd, off_t length) {
    return ftruncate(fd, length);
}

int sys_flock(int fd, int operation) {
    return flock(fd, operation);
}

int sys_fstat(int fd, struct stat* status) {
    return fstat(fd, status);
}

int sys_fstatat(int directory, const char* name, struct stat* status) {
    return fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW);
}

int sys_fstatfs(int fd, struct statfs* status) {
    return fstatfs(fd, status);
}

int sys_mkdir(const char* path, mode_t mode) {
    return mkdir(path, mode);
}

int sys_link(const char* existing, const char* path) {
    return link(existing, path);
}

int sys_unlink(const char* path) {
    return unlink(path);
}

DIR* sys_opendir(const char* path) {
    return opendir(path);
}

int sys_closedir(DIR* directory) {
    return closedir(directory);
}

int sys_ioctl(int fd, unsigned long request, void* argument) {
    return ioctl(fd, request, argument);
}

int sys_poll(struct pollfd* entries, nfds_t count, int timeout_ms) {
    return poll(entries, count, timeout_ms);
}

int sys_socket(void) {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int sys_bind(int fd, const char* path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    return bind(fd, (const struct sockaddr*)&address, sizeof(address));
}

int sys_listen(int fd, int backlog) {
    return listen(fd, backlog);
}

int sys_accept(int fd) {
    return accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

int sys_peer(int fd, struct ucred* peer) {
    socklen_t size = sizeof(*peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &size);
}

ssize_t sys_recvmsg(int fd, struct msghdr* message) {
    return recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
}

ssize_t sys_send(int fd, const void* data, size_t size) {
    return send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int sys_shutdown(int fd, int how) {
    return shutdown(fd, how);
}
