/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seam between the guardian and the operating system. Every call that can fail goes through it.
 * Tests link other definitions than those in syscalls.c. All functions return what the call of
 * their name returns, and set errno.
 */
#ifndef LIBFREEZE_GUARDIAN_SYSCALLS_H
#define LIBFREEZE_GUARDIAN_SYSCALLS_H

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>

#ifdef __cplusplus
extern "C" {
#endif

int64_t sys_now(void); /* CLOCK_MONOTONIC in nanoseconds; never fails */
void* sys_allocate(size_t size);
int sys_create_thread(pthread_t* thread, void* (*start)(void*), void* argument);
uid_t sys_geteuid(void);
int sys_is_admin(pid_t pid);       /* has CAP_SYS_ADMIN, or cannot be seen from here */
int sys_outlives_namespaces(void); /* this process is in the initial PID namespace */
int sys_getrandom(void* data, size_t size);

int sys_open(const char* path, int flags, mode_t mode);
int sys_close(int fd);
int sys_eventfd(void);
ssize_t sys_read(int fd, void* data, size_t size);
ssize_t sys_write(int fd, const void* data, size_t size);
ssize_t sys_pwrite(int fd, const void* data, size_t size, off_t offset);
int sys_ftruncate(int fd, off_t length);
int sys_flock(int fd, int operation);
int sys_fstat(int fd, struct stat* status);
int sys_fstatat(int directory, const char* name, struct stat* status); /* of a link itself */
int sys_fstatfs(int fd, struct statfs* status);
int sys_mkdir(const char* path, mode_t mode);
int sys_link(const char* existing, const char* path);
int sys_unlink(const char* path);
DIR* sys_opendir(const char* path);
int sys_closedir(DIR* directory);
int sys_ioctl(int fd, unsigned long request, void* argument);

int sys_poll(struct pollfd* entries, nfds_t count, int timeout_ms);
int sys_socket(void); /* AF_UNIX, SOCK_STREAM */
int sys_bind(int fd, const char* path);
int sys_listen(int fd, int backlog);
int sys_accept(int fd);
int sys_peer(int fd, struct ucred* peer);
ssize_t sys_recvmsg(int fd, struct msghdr* message);
ssize_t sys_send(int fd, const void* data, size_t size);
int sys_shutdown(int fd, int how);

#ifdef __cplusplus
}
#endif

#endif
