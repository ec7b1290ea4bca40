/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filesystem under test, on device-mapper as LVM stacks it: "base" is a slice of the disk,
 * "origin" on it is what is mounted and suspended, "snapshot" keeps its differences on "store".
 */
#ifndef VOLUME_HPP
#define VOLUME_HPP

#include <cstdint>
#include <string>

struct Volume {
    std::string dir, device;
    long magic;      /* of statfs */
    bool dm_freezes; /* when its device is suspended */
    unsigned minor_number;
};
extern Volume volume;

constexpr const char* origin_name = "stress-origin";
constexpr const char* snapshot_name = "stress-snapshot";

/* An error in words, or nothing. */
std::string make_volume();
std::string remove_volume();

int mount_volume(); /* 0 or an errno */
int load_snapshot();
int load_origin(bool with_snapshot); /* the table that takes effect at the resume */

/* Runs the filesystem's own checker on it; what that said if it is not content. */
std::string check_volume();
std::string check_snapshot();

/* What has been written to or discarded on the device, ever. */
uint64_t written();

#endif
