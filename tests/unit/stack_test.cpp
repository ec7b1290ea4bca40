// SPDX-License-Identifier: LGPL-2.1-or-later
/// What filesystems are stacked on.
#include "fake_kernel.hpp"

#include "stack.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <string>

#include <fcntl.h>
#include <sys/sysmacros.h>

using libfreeze::internal::Stack;
using testing::FakeKernel;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;
const dev_t loop0 = makedev(7, 0);
const dev_t dm0 = makedev(253, 0);

Stack stack_under(dev_t superblock) {
    return libfreeze::internal::stack_under(superblock, libfreeze::internal::read_mount_table());
}

/// A filesystem on a loop device over a file.
void mount_image(FakeKernel& kernel, const std::string& file) {
    kernel.add_loop(loop0, "loop0", file);
    kernel.mount("/image", loop0, "loop0");
}

using Devices = std::set<dev_t>;

} // namespace

TEST_CASE("a filesystem on a partition is stacked on nothing") {
    FakeKernel kernel;
    const Stack stack = stack_under(ext4);
    CHECK(stack.superblocks.empty());
    CHECK(stack.devices == Devices{ext4, 0x800});
    CHECK(stack.complete);
    CHECK_FALSE(stack.suspended);
    CHECK(stack.place == 1);
}

TEST_CASE("a filesystem in an image is stacked on that of the image") {
    FakeKernel kernel;
    mount_image(kernel, "/srv/dir/file");
    const Stack stack = stack_under(loop0);
    CHECK(stack.superblocks == Devices{ext4});
    CHECK(stack.devices == Devices{loop0, ext4, 0x800});
    CHECK(stack.complete);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("the name of a backing file means nothing") {
    FakeKernel kernel;
    mount_image(kernel, "/srv/dir/file");
    kernel.mount("/decoy", makedev(8, 0x30), "sdd");
    const std::string name = GENERATE("/decoy/file", "/srv/dir/file (deleted)", "/none", "");
    kernel.files["/decoy/file"] = {S_IFREG, makedev(8, 0x30), makedev(8, 0x30), 0, 107, 4};
    kernel.texts["/sys/dev/block/7:0/loop/backing_file"] = name + "\n";
    CHECK(stack_under(loop0).superblocks == Devices{ext4});
    CHECK(stack_under(loop0).complete);
}

TEST_CASE("an image in a btrfs subvolume") {
    FakeKernel kernel;
    mount_image(kernel, "/pool/sub/file"); // its st_dev is the subvolume's
    SECTION("by its name") {
        CHECK(stack_under(loop0).superblocks == Devices{FakeKernel::btrfs});
        CHECK(stack_under(loop0).complete);
    }
    SECTION("by another mount of the subvolume") {
        kernel.texts["/sys/dev/block/7:0/loop/backing_file"] = "/srv/dir/file\n";
        kernel.table.push_back({41, FakeKernel::btrfs, "/pool/sub", "btrfs", "/dev/sdb", "/sub"});
        CHECK(stack_under(loop0).superblocks == Devices{FakeKernel::btrfs});
        CHECK(stack_under(loop0).complete);
    }
    SECTION("not found") {
        kernel.texts["/sys/dev/block/7:0/loop/backing_file"] = "/srv/dir/file\n";
        CHECK(stack_under(loop0).superblocks.empty());
        CHECK_FALSE(stack_under(loop0).complete);
    }
}

TEST_CASE("a loop device that cannot be asked makes the stack incomplete") {
    FakeKernel kernel;
    mount_image(kernel, "/srv/dir/file");
    SECTION("no node") {
        kernel.files.erase("/dev/loop0");
    }
    SECTION("another device at its name") {
        kernel.files["/dev/loop0"].rdev = makedev(7, 1);
    }
    SECTION("no answer") {
        kernel.failing_errno = EPERM;
        kernel.failing_request = [](const std::string& name, dev_t) {
            return name == "LOOP_GET_STATUS64";
        };
    }
    SECTION("a file at its name") {
        kernel.files["/dev/loop0"].mode = S_IFIFO;
        CHECK_FALSE(stack_under(loop0).complete);
        CHECK(kernel.opened_specials == 0);
    }
    CHECK(stack_under(loop0).superblocks.empty());
    CHECK_FALSE(stack_under(loop0).complete);
}

TEST_CASE("an image on a filesystem that is mounted elsewhere only") {
    FakeKernel kernel;
    mount_image(kernel, "/srv/dir/file");
    kernel.loops["/dev/loop0"].first = makedev(8, 0x30);
    kernel.add_device(makedev(8, 0x30), "sdd");
    CHECK(stack_under(loop0).superblocks == Devices{makedev(8, 0x30)});
    CHECK(stack_under(loop0).complete);
}

TEST_CASE("device-mapper over a loop device") {
    FakeKernel kernel;
    kernel.add_loop(loop0, "loop0", "/srv/dir/file");
    kernel.mount("/mapped", dm0, "dm-0");
    kernel.texts["/sys/dev/block/253:0/slaves/loop0/dev"] = "7:0\n";
    kernel.texts["/sys/dev/block/253:0/dm/suspended"] = "0\n";
    CHECK(stack_under(dm0).superblocks == Devices{ext4});
    CHECK_FALSE(stack_under(dm0).suspended);
    kernel.texts["/sys/dev/block/253:0/dm/suspended"] = "1\n";
    CHECK(stack_under(dm0).suspended);
}

TEST_CASE("all devices of btrfs") {
    FakeKernel kernel;
    kernel.add_loop(loop0, "loop0", "/srv/dir/file");
    kernel.texts["/sys/fs/btrfs/1111/devices/sdc/dev"] = "8:32\n"; // another filesystem
    kernel.texts["/sys/fs/btrfs/2222/devices/loop0/dev"] = "7:0\n";
    const Stack stack = stack_under(FakeKernel::btrfs);
    CHECK(stack.superblocks == Devices{ext4});
    CHECK(stack.devices == Devices{0x800, ext4, 0x810, loop0});
    CHECK(stack.complete);
    kernel.texts.erase("/sys/fs/btrfs/2222/devices/sdb/dev");
    CHECK_FALSE(stack_under(FakeKernel::btrfs).complete);
}

TEST_CASE("an overlay is stacked on its upper directory") {
    FakeKernel kernel;
    kernel.files["/merged"] = {S_IFDIR, 0x90, 0x90, 0, 90, 2};
    kernel.table.push_back({90, 0x90, "/merged", "overlay", "overlay", "/", {"/srv/dir"}});
    CHECK(stack_under(0x90).superblocks == Devices{ext4});
    CHECK(stack_under(0x90).complete);
}

TEST_CASE("the external journal of ext4") {
    FakeKernel kernel;
    kernel.mount("/data", makedev(8, 0x20), "sdc");
    kernel.add_loop(loop0, "loop0", "/srv/dir/file");
    kernel.texts["/sys/fs/ext4/sdc/journal_task"] = "77\n";
    const auto devices = [] { return stack_under(makedev(8, 0x20)).devices; };
    SECTION("another device") {
        kernel.texts["/proc/77/comm"] = "jbd2/loop0\n";
        CHECK(stack_under(makedev(8, 0x20)).superblocks == Devices{ext4});
        CHECK(stack_under(makedev(8, 0x20)).complete);
    }
    SECTION("inside") {
        kernel.texts["/proc/77/comm"] = "jbd2/sdc-8\n";
        CHECK(devices() == Devices{makedev(8, 0x20)});
        CHECK(stack_under(makedev(8, 0x20)).complete);
    }
    SECTION("none") {
        kernel.texts["/sys/fs/ext4/sdc/journal_task"] = "<none>\n";
        CHECK(stack_under(makedev(8, 0x20)).complete);
    }
    SECTION("in another PID namespace") {
        kernel.texts["/sys/fs/ext4/sdc/journal_task"] = "0\n";
        CHECK_FALSE(stack_under(makedev(8, 0x20)).complete);
        kernel.texts["/proc/fs/jbd2/sdc-8/info"] = "";
        CHECK(stack_under(makedev(8, 0x20)).complete);
    }
}

TEST_CASE("the log device of XFS") {
    FakeKernel kernel;
    kernel.mount("/data", makedev(8, 0x20), "sdc", "xfs");
    kernel.add_loop(loop0, "loop0", "/srv/dir/file");
    kernel.table.back().stores = {"/dev/loop0"};
    CHECK(stack_under(makedev(8, 0x20)).superblocks == Devices{ext4});
    kernel.files.erase("/dev/loop0");
    CHECK_FALSE(stack_under(makedev(8, 0x20)).complete);
}

TEST_CASE("nobody waits for a server that does not answer") {
    FakeKernel kernel;
    kernel.dead = {"/nfs"};
    kernel.table.push_back({90, 0x91, "/nfs", "nfs4", "server:/", "/"});
    kernel.files["/merged"] = {S_IFDIR, 0x90, 0x90, 0, 92, 2};
    kernel.table.push_back({92, 0x90, "/merged", "overlay", "overlay", "/", {"/nfs/upper"}});
    CHECK(stack_under(0x90).superblocks == Devices{0x91});
    mount_image(kernel, "/srv/dir/file");
    kernel.loops["/dev/loop0"].first = 0x92; // unknown
    kernel.texts["/sys/dev/block/7:0/loop/backing_file"] = "/nfs/file\n";
    CHECK_FALSE(stack_under(loop0).complete);
    CHECK(kernel.hung == 0);
}

TEST_CASE("a device that a program serves may be stacked on anything") {
    FakeKernel kernel;
    kernel.mount("/nbd", makedev(43, 0), "nbd0");
    CHECK_FALSE(stack_under(makedev(43, 0)).complete);
}

TEST_CASE("without sysfs the stack is incomplete") {
    FakeKernel kernel;
    kernel.texts.clear();
    CHECK_FALSE(stack_under(ext4).complete);
}

TEST_CASE("a failing call leaves nothing open, and makes the stack incomplete") {
    FakeKernel kernel;
    mount_image(kernel, "/srv/dir/file");
    kernel.failing_errno = GENERATE(EIO, EACCES);
    kernel.failing_call = GENERATE(range(1, 20));
    const Stack stack = stack_under(loop0);
    CHECK((stack.superblocks == Devices{ext4} || !stack.complete));
    CHECK(kernel.open_files.empty());
}
