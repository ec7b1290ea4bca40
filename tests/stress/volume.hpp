/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystem under test, on device-mapper as LVM stacks it: "base" is a slice of the disk,
 * "origin" on it is mounted and suspended, "snapshot" stores its differences on "store".
 */
#ifndef VOLUME_HPP
#define VOLUME_HPP

#include <cstdint>
#include <string>

struct Volume {
    std::string dir, device;
    long magic;      /* of statfs */
    bool dm_freezes; /* suspending its device freezes it */
    int minor_number;
};
extern Volume volume;

constexpr const char* origin_name = "stress-origin";
constexpr const char* snapshot_name = "stress-snapshot";

/* An error message, or nothing. */
std::string make_volume();
std::string remove_volume();

int mount_volume(); /* 0 or an errno */
/* Load tables, which take effect at the resume. Return 0 or -errno. */
int load_snapshot();
int load_origin(bool with_snapshot);

/* Run the filesystem's own checker. Return its output if it finds errors. */
std::string check_volume();
std::string check_snapshot();

/* The number of sectors written or discarded on the device so far. */
uint64_t written();

#endif
