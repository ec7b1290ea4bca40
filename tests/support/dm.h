/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device-mapper by its own ioctls: exact results, and no udev to wait for. The functions return 0
 * or -errno. For C and C++.
 */
#ifndef SUPPORT_DM_H
#define SUPPORT_DM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

bool dm_present(void);
int dm_create(const char* name, int* minor_number);
int dm_load(const char* name, uint64_t sectors, const char* target, const char* parameters);
/* @sectors of @disk, from @start on, and behind them as many that fail every request. */
int dm_load_linear_and_bad(const char* name, const char* disk, uint64_t start, uint64_t sectors,
                           uint64_t bad_sectors);
int dm_suspend(const char* name, unsigned flags); /* DM_SKIP_LOCKFS_FLAG: does not freeze */
int dm_resume(const char* name);
int dm_remove(const char* name);
bool dm_suspended(const char* name);

/* A new device: @sectors of @disk, from @start on. */
int dm_create_linear(const char* name, const char* disk, uint64_t start, uint64_t sectors,
                     int* minor_number);
/*
 * Waits up to @ms until nothing uses the device: a superblock goes away a moment after the unmount,
 * with its last reference.
 */
int dm_remove_when_unused(const char* name, int ms);

#ifdef __cplusplus
}
#endif

#endif
