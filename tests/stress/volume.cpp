/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "dm.hpp"
#include "shared.hpp"

Volume volume;

namespace {

constexpr uint64_t mib = (1 << 20) / 512; /* in sectors */
constexpr uint64_t size = 320 * mib;      /* mkfs.xfs wants 300 */
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

/* Until 6.12, btrfs opens its devices without telling the block layer what to freeze. */
bool dm_freezes() {
    utsname kernel{};
    int version = 0, patchlevel = 0;
    if (options.type != "btrfs")
        return true;
    return !uname(&kernel) && sscanf(kernel.release, "%d.%d", &version, &patchlevel) == 2 &&
           (version > 6 || (version == 6 && patchlevel > 12));
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

/* What a checker said if it is not content, in one line. */
std::string check(const std::string& command) {
    bool succeeded = false;
    std::string text = output_of(command, &succeeded);
    if (succeeded)
        return "";
    for (char& character : text)
        character = character == '\n' ? '|' : character;
    return text.size() > 400 ? text.substr(0, 400) : text;
}

std::string node(unsigned minor_number) {
    return "/dev/dm-" + std::to_string(minor_number);
}

std::string parameters_of(const char* device, uint64_t start) {
    return std::string(device) + " " + std::to_string(start);
}

unsigned base_minor, store_minor, snapshot_minor;

int make_devices() {
    const char* disk = options.disk.c_str();
    int error = dm_create(base, &base_minor);
    error = error ? error : dm_load(base, size, "linear", parameters_of(disk, 0));
    error = error ? error : dm_resume(base);
    error = error ? error : dm_create(store, &store_minor);
    error = error ? error : dm_load(store, store_size, "linear", parameters_of(disk, size));
    error = error ? error : dm_resume(store);
    error = error ? error : dm_create(origin_name, &volume.minor_number);
    error = error ? error : load_origin(false);
    return error ? error : dm_resume(origin_name);
}

/* Busy for a moment after the unmount: the superblock goes when its last reference does. */
int remove_device(const char* name) {
    int error = EBUSY;
    for (int i = 0; i < 200 * slowness() && error == EBUSY; i++) {
        error = dm_remove(name);
        if (error == EBUSY)
            sleep_ms(50);
    }
    return error;
}

} // namespace

std::string make_volume() {
    if (!type())
        return "no filesystem of ours: " + options.type;
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
        if (int error = remove_device(name))
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
        return dm_load(origin_name, size, "snapshot-origin", device);
    return dm_load(origin_name, size, "linear", device + " 0");
}

/* Not yet active: that takes a resume. */
int load_snapshot() {
    int error = dm_create(snapshot_name, &snapshot_minor);
    return error ? error
                 : dm_load(snapshot_name, size, "snapshot",
                           node(base_minor) + " " + node(store_minor) + " N 8");
}

std::string check_volume() {
    return check(std::string(type()->check) + " " + volume.device);
}

/*
 * On top of what the checker says: ext4's journal must be empty. XFS leaves a record in its log at
 * each freeze, without which xfs_repair finds the free blocks miscounted: a mount plays it back.
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
    snprintf(path, sizeof(path), "/sys/block/dm-%u/stat", volume.minor_number);
    FILE* file = fopen(path, "re");
    if (!file)
        return 0;
    for (unsigned long long& each : value)
        if (fscanf(file, "%llu", &each) != 1)
            break;
    fclose(file);
    return value[6] + value[13]; /* sectors written, sectors discarded */
}
