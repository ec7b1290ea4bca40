/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device-mapper by its own ioctls: exact results, and no udev to wait for. 0 or an errno. */
#ifndef DM_HPP
#define DM_HPP

#include <cstdint>
#include <string>

int dm_create(const std::string& name, unsigned* minor_number);
int dm_load(const std::string& name, uint64_t sectors, const char* target,
            const std::string& parameters);
int dm_suspend(const std::string& name, bool freeze = true); /* the filesystem on it */
int dm_resume(const std::string& name);
int dm_remove(const std::string& name);

#endif
