// SPDX-License-Identifier: LGPL-2.1-or-later
/// From a path or a descriptor to its filesystem.
#include "fake_kernel.hpp"

#include "target.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <cerrno>
#include <string>

#include <fcntl.h>

using libfreeze::internal::Error;
using libfreeze::internal::Operation;
using libfreeze::internal::Target;
using testing::FakeKernel;

namespace {

template <typename Name>
Target resolve(const Name& name) {
    return libfreeze::internal::resolve(name, libfreeze::internal::read_mount_table(),
                                        Operation::freeze);
}

template <typename Name>
Error refusal(const Name& name) {
    try {
        resolve(name);
    } catch (const Error& error) {
        return error;
    }
    FAIL("not refused");
    return {0, ""};
}

bool contains(const Error& error, const std::string& text) {
    INFO(error.what());
    return std::string(error.what()).find(text) != std::string::npos;
}

/// What the kernel would freeze.
dev_t frozen_by(FakeKernel& kernel, const Target& target) {
    libfreeze::internal::syscalls().ioctl(target.fd.get(), FIFREEZE, nullptr);
    return kernel.calls.back().superblock;
}

} // namespace

TEST_CASE("any path stands for its filesystem") {
    FakeKernel kernel;
    const std::string path =
        GENERATE("/srv", "/srv/dir", "/srv/dir/file", "/srv/dir/fifo", "/bind");
    {
        const Target target = resolve(path);
        CHECK(target.filesystem.path == path);
        CHECK(target.filesystem.type == "ext4");
        CHECK(target.filesystem.device == FakeKernel::ext4);
        CHECK(frozen_by(kernel, target) == FakeKernel::ext4);
        CHECK(kernel.is_frozen(FakeKernel::ext4));
    }
    CHECK(kernel.open_files.empty());
    CHECK(kernel.opened_specials == 0);
}

TEST_CASE("any open file stands for its filesystem, and stays open") {
    FakeKernel kernel;
    const std::string path = GENERATE("/srv", "/srv/dir/file", "/srv/dir/fifo", "/pool/sub/file");
    const int flags = GENERATE(O_PATH, O_RDONLY);
    kernel.open_as(7, path, flags);
    {
        const Target target = resolve(7);
        CHECK(target.filesystem.path == path);
        CHECK(target.filesystem.device == (path[1] == 's' ? FakeKernel::ext4 : FakeKernel::btrfs));
        CHECK(frozen_by(kernel, target) == target.filesystem.device);
    }
    CHECK(kernel.open_files.empty());
    CHECK(kernel.opened_specials == 0);
    CHECK(kernel.get_flags(7) == flags);
}

TEST_CASE("a descriptor that is not open is refused") {
    FakeKernel kernel;
    CHECK(refusal(7).number() == EBADF);
    CHECK(contains(refusal(7), "'descriptor 7'"));
}

TEST_CASE("everything that is opened is close-on-exec, and never for writing") {
    FakeKernel kernel;
    const std::string path = GENERATE("/srv/dir", "/srv/dir/file", "/srv/dir/fifo");
    resolve(path);
    for (const auto& call : kernel.calls) {
        if (call.name == "openat") {
            CHECK((call.argument & O_CLOEXEC) != 0);
            CHECK((call.argument & (O_PATH | O_DIRECTORY | O_NONBLOCK)) != 0);
            CHECK((call.argument & O_ACCMODE) == O_RDONLY);
        }
    }
}

TEST_CASE("a path is looked up once") {
    FakeKernel kernel;
    kernel.filesystems[0x77];
    const std::string path = GENERATE("/srv/dir", "/srv/dir/file", "/srv/dir/fifo");
    bool is_replaced = false;
    kernel.on_open = [&](const std::string& opened) {
        if (opened == path && !is_replaced) { // by a symbolic link to another filesystem
            kernel.files[path] = {S_IFDIR, 0x77, 0x77, 0, 90, 2};
            is_replaced = true;
        }
    };
    const Target target = resolve(path);
    CHECK(is_replaced);
    CHECK(frozen_by(kernel, target) == FakeKernel::ext4);
}

TEST_CASE("nothing is asked of a server") {
    FakeKernel kernel;
    kernel.files["/nfs"] = {S_IFDIR, 0x77, 0x77, 0, 90, 2};
    kernel.filesystems[0x77];
    kernel.table.push_back({90, 0x77, "/nfs", "nfs4", "server:/", "/"});
    kernel.open_as(7, "/nfs", O_PATH);
    resolve(7);
    for (const auto& call : kernel.calls) {
        CHECK((call.name != "statx" || (call.argument & AT_STATX_DONT_SYNC) != 0));
    }
}

TEST_CASE("an automounted filesystem is frozen, not autofs") {
    constexpr dev_t autofs = 0x77;
    FakeKernel kernel;
    kernel.files["/auto"] = {S_IFDIR, autofs, autofs, 0, 70, 2};
    kernel.table.push_back({70, autofs, "/auto", "autofs", "systemd-1", "/"});
    kernel.filesystems[autofs].freezable = false;
    SECTION("mounted") {
        kernel.automounts["/auto"] = kernel.files["/srv"];
        const Target target = resolve(std::string("/auto"));
        CHECK(target.filesystem.type == "ext4");
        CHECK(frozen_by(kernel, target) == FakeKernel::ext4);
    }
    SECTION("not mounted") {
        CHECK(resolve(std::string("/auto")).filesystem.type == "autofs");
    }
}

TEST_CASE("the message of a path that cannot be opened says so") {
    FakeKernel kernel;
    kernel.failing_errno = GENERATE(EACCES, ENAMETOOLONG, ELOOP, ENOTDIR, EMFILE, EPERM);
    kernel.failing_request = [](const std::string& name, dev_t) { return name == "openat"; };
    const Error error = refusal(std::string("/srv"));
    CHECK(error.number() == kernel.failing_errno);
    CHECK(contains(error, "cannot freeze '/srv': the path cannot be opened"));
}

TEST_CASE("ESTALE of a server does not look as if a freeze had expired") {
    FakeKernel kernel;
    kernel.failing_errno = ESTALE;
    const std::string failing = GENERATE("openat", "statx");
    kernel.failing_request = [&](const std::string& name, dev_t) { return name == failing; };
    CHECK(refusal(std::string("/srv")).number() == EIO);
}

TEST_CASE("subvolumes with different st_dev are one filesystem") {
    FakeKernel kernel;
    CHECK(resolve(std::string("/pool")).filesystem.device == FakeKernel::btrfs);
    CHECK(resolve(std::string("/pool/sub/file")).filesystem.device == FakeKernel::btrfs);
}

TEST_CASE("a mounted block device is refused with its mountpoint") {
    FakeKernel kernel;
    const Error error = refusal(std::string("/dev/sda1"));
    CHECK(error.number() == EOPNOTSUPP);
    CHECK(contains(error, "mountpoint, '/srv'"));
    CHECK(contains(refusal(std::string("/dev/sdb")), "mountpoint, '/pool'")); // btrfs
    kernel.add_device(0x830, "sdd");
    kernel.texts["/sys/fs/btrfs/2222/devices/sdd/dev"] = "8:48\n"; // its second device
    CHECK(contains(refusal(std::string("/dev/sdd")), "mountpoint, '/pool'"));
    CHECK(kernel.open_files.empty());
    CHECK(kernel.opened_specials == 0);
}

TEST_CASE("the message of a block device that is not mounted says so") {
    FakeKernel kernel;
    const Error error = refusal(std::string("/dev/sdc"));
    CHECK(error.number() == EOPNOTSUPP);
    CHECK(contains(error, "cannot freeze '/dev/sdc': it is a block device, and no filesystem on it "
                          "is mounted"));
}

TEST_CASE("other device nodes stand for the filesystem they are on") {
    FakeKernel kernel;
    CHECK(resolve(std::string("/dev/null")).filesystem.type == "devtmpfs");
    CHECK(kernel.opened_specials == 0);
}

TEST_CASE("paths that do not exist") {
    FakeKernel kernel;
    CHECK(refusal(std::string("/none")).number() == ENOENT);
    CHECK(refusal(std::string()).number() == ENOENT);
    const std::string truncated("/srv\0/none", 10);
    CHECK(refusal(truncated).number() == ENOENT);
    CHECK(contains(refusal(truncated), "'/srv\\x00/none'"));
}

TEST_CASE("names with blanks and newlines") {
    FakeKernel kernel;
    const std::string path = GENERATE("/srv/a b", "/srv/a\nb", "/srv/ä'\\");
    kernel.files[path] = kernel.files["/srv/dir"];
    CHECK(resolve(path).filesystem.path == path);
}

TEST_CASE("a bind-mounted socket is frozen through another mount of its filesystem") {
    FakeKernel kernel;
    kernel.files["/run/sock"] = {S_IFSOCK, FakeKernel::ext4, FakeKernel::ext4, 0, 77, 9};
    kernel.files["/run"] = {S_IFDIR, 0x19, 0x19, 0, 70, 1};
    kernel.table.push_back({77, FakeKernel::ext4, "/run/sock", "ext4", "/dev/sda1", "/sock"});
    const Target target = resolve(std::string("/run/sock"));
    CHECK(frozen_by(kernel, target) == FakeKernel::ext4);
    CHECK(kernel.opened_specials == 0);
}

TEST_CASE("a mount is not confused with another one on top of it") {
    FakeKernel kernel;
    // Another filesystem is mounted over /srv and /bind; the FIFO's path was opened before.
    kernel.files["/fifo"] = {S_IFIFO, FakeKernel::ext4, FakeKernel::ext4, 0, 30, 5};
    kernel.files["/"] = {S_IFDIR, 0x77, 0x77, 0, 1, 2};
    kernel.files["/srv"] = {S_IFDIR, 0x77, 0x77, 0, 90, 2};
    kernel.files["/bind"] = {S_IFDIR, 0x77, 0x77, 0, 90, 2};
    kernel.table.push_back({90, 0x77, "/srv", "xfs", "/dev/sdd", "/"});
    const Error error = refusal(std::string("/fifo"));
    CHECK(error.number() == ENOTDIR);
    CHECK(contains(error, "no directory of its filesystem can be opened"));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a bind-mounted regular file whose filesystem has no directory here is opened itself") {
    FakeKernel kernel;
    kernel.files = {{"/etc", {S_IFDIR, 0x77, 0x77, 0, 1, 2}},
                    {"/etc/hosts", {S_IFREG, FakeKernel::ext4, FakeKernel::ext4, 0, 80, 9}}};
    kernel.table = {{80, FakeKernel::ext4, "/etc/hosts", "ext4", "/dev/sda1", "/hosts"}};
    const Target target = resolve(std::string("/etc/hosts"));
    CHECK(frozen_by(kernel, target) == FakeKernel::ext4);
    CHECK(target.filesystem.mountpoint == "/etc/hosts");
}

TEST_CASE("a mount of another namespace can be frozen without a mountpoint here") {
    FakeKernel kernel;
    kernel.table.clear();
    kernel.has_mount_ids = GENERATE(true, false);
    kernel.open_as(7, GENERATE("/srv", "/srv/dir/fifo", "/srv/dir/file"), O_PATH);
    const Target target = resolve(7);
    CHECK(frozen_by(kernel, target) == FakeKernel::ext4);
    CHECK(target.filesystem.mountpoint.empty());
    CHECK(target.filesystem.type.empty());
}

TEST_CASE("a failing call leaves nothing open") {
    FakeKernel kernel;
    kernel.failing_errno = GENERATE(EIO, ENOMEM, EINTR);
    kernel.failing_call = GENERATE(range(0, 12));
    const std::string path = GENERATE("/srv", "/srv/dir/file", "/srv/dir/fifo");
    try {
        const Target target = resolve(path);
        CHECK(target.filesystem.device == FakeKernel::ext4);
    } catch (const Error& error) {
        CHECK((error.number() == kernel.failing_errno || error.number() == ENOTDIR));
    }
    CHECK(kernel.open_files.empty());
}
