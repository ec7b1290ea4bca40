/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <linux/magic.h>
#include <sys/mount.h>
#include <unistd.h>

#include "shared.hpp"
#include "support/dm.h"

Volume volume;

namespace {

constexpr uint64_t mib = (1 << 20) / 512; /* in sectors */
constexpr uint64_t size = 320 * mib;      /* mkfs.xfs needs 300 */
constexpr uint64_t store_size = 128 * mib;
constexpr const char* base = "stress-base";
constexpr const char* store = "stress-store";

struct Type {
    const char *name, *make, *check;
    long magic;
};
constexpr long f2fs_magic = 0xF2F52010, xfs_magic = 0x58465342; /* not in all linux/magic.h */
constexpr Type types[] = {
    {"ext4", "mkfs.ext4 -q -F -N 4096 -J size=8 -E lazy_itable_init=0,lazy_journal_init=0",
     "e2fsck -fn", EXT4_SUPER_MAGIC},
    {"xfs", "mkfs.xfs -q -f", "xfs_repair -n", xfs_magic},
    {"btrfs", "mkfs.btrfs -q -f", "btrfs check --readonly", BTRFS_SUPER_MAGIC},
    {"f2fs", "mkfs.f2fs -q -f", "fsck.f2fs --dry-run", f2fs_magic},
};

const Type* type() {
    for (const Type& each : types)
        if (options.type == each.name)
            return &each;
    return nullptr;
}

/* Up to 6.12, btrfs does not register its superblock with its devices. */
bool dm_freezes() {
    return options.type != "btrfs" || kernel_version() > 612;
}

std::string output_of(const std::string& command, bool* succeeded) {
    std::string text;
    char buffer[4096];
    FILE* pipe = popen(("{ " + command + "; } 2>&1 </dev/null").c_str(), "re");
    if (!pipe)
        return "popen";
    while (size_t length = fread(buffer, 1, sizeof(buffer), pipe))
        text.append(buffer, length);
    *succeeded = pclose(pipe) == 0;
    return text;
}

/* The output of a checker that found errors, in one line. */
std::string check(const std::string& command) {
    bool succeeded = false;
    std::string text = output_of(command, &succeeded);
    if (succeeded)
        return "";
    for (char& character : text)
        character = character == '\n' ? '|' : character;
    return text.size() > 400 ? text.substr(0, 400) : text;
}

std::string node(int minor_number) {
    return "/dev/dm-" + std::to_string(minor_number);
}

int base_minor, store_minor, snapshot_minor;

int make_devices() {
    const char* disk = options.disk.c_str();
    int error = dm_create_linear(base, disk, 0, size, &base_minor);
    error = error ? error : dm_create_linear(store, disk, size, store_size, &store_minor);
    error = error ? error : dm_create(origin_name, &volume.minor_number);
    error = error ? error : load_origin(false);
    return error ? error : dm_resume(origin_name);
}

} // namespace

std::string make_volume() {
    if (!type())
        return "unsupported filesystem: " + options.type;
    if (int error = make_devices())
        return std::string("cannot set up the devices: ") + name_of(error);
    volume.device = node(volume.minor_number);
    volume.magic = type()->magic;
    volume.dm_freezes = dm_freezes();
    char dir[] = "/tmp/freeze-stress.XXXXXX";
    if (!mkdtemp(dir))
        return "mkdtemp";
    volume.dir = dir;
    bool succeeded = false;
    std::string text = output_of(std::string(type()->make) + " " + volume.device, &succeeded);
    if (!succeeded)
        return text;
    if (int error = mount_volume())
        return std::string("mount: ") + name_of(error);
    return "";
}

std::string remove_volume() {
    for (const char* name : {origin_name, store, base})
        if (int error = dm_remove_when_unused(name, static_cast<int>(10'000 * slowness())))
            return std::string(name) + ": " + name_of(error);
    rmdir(volume.dir.c_str());
    return "";
}

int mount_volume() {
    const char* type_name = options.type.c_str();
    return mount(volume.device.c_str(), volume.dir.c_str(), type_name, 0, nullptr) ? errno : 0;
}

int load_origin(bool with_snapshot) {
    const std::string device = node(base_minor);
    if (with_snapshot)
        return dm_load(origin_name, size, "snapshot-origin", device.c_str());
    return dm_load(origin_name, size, "linear", (device + " 0").c_str());
}

/* It becomes active at the resume. */
int load_snapshot() {
    const std::string parameters = node(base_minor) + " " + node(store_minor) + " N 8";
    const int error = dm_create(snapshot_name, &snapshot_minor);
    return error ? error : dm_load(snapshot_name, size, "snapshot", parameters.c_str());
}

std::string check_volume() {
    return check(std::string(type()->check) + " " + volume.device);
}

/*
 * In addition to the checker: ext4's journal must be empty. XFS leaves a record in its log at each
 * freeze, without which xfs_repair finds the free blocks miscounted; a mount replays it.
 */
std::string check_snapshot() {
    const std::string device = node(snapshot_minor), dir = volume.dir + ".replayed";
    std::string command = std::string(type()->check) + " " + device;
    if (options.type == "xfs")
        command = "mkdir -p " + dir + " && mount -t xfs -o nouuid " + device + " " + dir +
                  " && umount " + dir + " && " + command;
    if (options.type == "ext4")
        command += " && ! dumpe2fs -h " + device + " | grep needs_recovery";
    return check(command);
}

uint64_t written() {
    char path[64];
    unsigned long long value[15] = {};
    snprintf(path, sizeof(path), "/sys/block/dm-%d/stat", volume.minor_number);
    FILE* file = fopen(path, "re");
    if (!file)
        return 0;
    for (unsigned long long& each : value)
        if (fscanf(file, "%llu", &each) != 1)
            break;
    fclose(file);
    return value[6] + value[13]; /* sectors written, sectors discarded */
}
