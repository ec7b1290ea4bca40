// SPDX-License-Identifier: LGPL-2.1-or-later
#include "calls.hpp"
#include "fake_kernel.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <cerrno>

#include <fcntl.h>

using libfreeze::errc;
using libfreeze::FreezeGuard;
using testing::contains;
using testing::FakeKernel;

namespace {

std::system_error refused(const std::filesystem::path& path) {
    try {
        const FreezeGuard guard(path);
    } catch (const std::system_error& error) {
        return error;
    }
    FAIL("not refused");
    throw std::logic_error("not reached");
}

} // namespace

TEST_CASE("any path stands for its filesystem") {
    FakeKernel kernel;
    const auto path = GENERATE("/srv", "/srv/dir", "/srv/dir/file", "/srv/dir/fifo", "/bind");
    FreezeGuard guard(path);
    CHECK(kernel.is_frozen(FakeKernel::ext4));
    CHECK(guard.filesystem().path == path);
    CHECK(guard.filesystem().type == "ext4");
    guard.thaw();
    CHECK_FALSE(kernel.is_frozen(FakeKernel::ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("only directories are opened without O_PATH, and everything is close-on-exec") {
    FakeKernel kernel;
    { const FreezeGuard guard("/srv/dir/fifo"); }
    for (const auto& call : kernel.calls) {
        if (call.name == "openat") {
            CHECK((call.argument & O_CLOEXEC) != 0);
            CHECK((call.argument & (O_PATH | O_DIRECTORY)) != 0);
            CHECK((call.argument & O_ACCMODE) == O_RDONLY);
        }
    }
}

TEST_CASE("an automounted filesystem is frozen, not autofs") {
    constexpr dev_t autofs = 0x77;
    FakeKernel kernel;
    kernel.files["/auto"] = {S_IFDIR, autofs, autofs, 0, 70};
    kernel.table.push_back({70, autofs, "/auto", "autofs", "systemd-1"});
    kernel.filesystems[autofs].freezable = false;
    SECTION("mounted") {
        kernel.automounts["/auto"] = kernel.files["/srv"];
        FreezeGuard guard("/auto");
        CHECK(guard.filesystem().type == "ext4");
        CHECK(kernel.is_frozen(FakeKernel::ext4));
    }
    SECTION("not mounted") {
        CHECK(contains(refused("/auto"), "'/auto' (autofs): such a filesystem cannot be frozen"));
    }
    CHECK_FALSE(kernel.is_frozen(FakeKernel::ext4));
    CHECK(kernel.open_files.empty());
}

TEST_CASE("the message of a path that cannot be opened says so") {
    FakeKernel kernel;
    kernel.failing_errno = GENERATE(EACCES, ENAMETOOLONG, ELOOP, ENOTDIR, EMFILE, EPERM);
    kernel.failing_call = 0;
    const auto error = refused("/srv");
    CHECK(error.code().value() == kernel.failing_errno);
    CHECK(contains(error, "cannot freeze '/srv': the path cannot be opened: "));
}

TEST_CASE("subvolumes with different st_dev are one filesystem") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    FreezeGuard top("/pool");
    FreezeGuard sub("/pool/sub");
    CHECK(kernel.holds_of(kernel.process, FakeKernel::btrfs) <= 1);
    top.thaw();
    CHECK(kernel.is_frozen(FakeKernel::btrfs));
    sub.thaw();
    CHECK_FALSE(kernel.is_frozen(FakeKernel::btrfs));
}

TEST_CASE("a mounted block device is refused with its mountpoint") {
    FakeKernel kernel;
    const auto error = refused("/dev/sda1");
    CHECK(error.code() == errc::not_supported);
    CHECK(contains(error, "mounted, '/srv'"));
    const auto several = refused("/dev/sdb"); // btrfs: known by its source only
    CHECK(contains(several, "mounted, '/pool'"));
    CHECK(kernel.count("FIFREEZE") == 0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("the message of a block device that is not mounted says so") {
    FakeKernel kernel;
    const auto error = refused("/dev/sdc");
    CHECK(error.code() == errc::not_supported);
    CHECK(contains(
        error,
        "cannot freeze '/dev/sdc': it is a block device, and no filesystem on it is mounted"));
    CHECK(kernel.count("FIFREEZE") == 0);
}

TEST_CASE("other device nodes stand for the filesystem they are on") {
    FakeKernel kernel;
    CHECK(refused("/dev/null").code() == errc::not_supported);
    CHECK(contains(refused("/dev/null"), "(devtmpfs on '/dev')"));
}

TEST_CASE("paths that do not exist") {
    FakeKernel kernel;
    CHECK(refused("/none").code() == std::errc::no_such_file_or_directory);
    CHECK(refused("").code() == std::errc::no_such_file_or_directory);
    const std::string truncated("/srv\0/none", 10);
    CHECK(refused(truncated).code() == std::errc::no_such_file_or_directory);
    CHECK(contains(refused(truncated), "'/srv\\x00/none'"));
    CHECK(kernel.count("FIFREEZE") == 0);
}

TEST_CASE("the error names a filesystem that cannot freeze") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const auto error = refused("/proc");
    CHECK(error.code() == errc::not_supported);
    CHECK(error.code() == std::error_code(EOPNOTSUPP, std::system_category()));
    CHECK(contains(error, "cannot freeze '/proc' (proc): "));
}

TEST_CASE("a bind-mounted socket is frozen through another mount of its filesystem") {
    FakeKernel kernel;
    kernel.files["/run/sock"] = {S_IFSOCK, FakeKernel::ext4, FakeKernel::ext4, 0, 77};
    kernel.files["/run"] = {S_IFDIR, 0x19, 0x19, 0, 70};
    kernel.filesystems[0x19];
    kernel.table.push_back({77, FakeKernel::ext4, "/run/sock", "ext4", "/dev/sda1"});
    const FreezeGuard guard("/run/sock");
    CHECK(kernel.is_frozen(FakeKernel::ext4));
    CHECK_FALSE(kernel.is_frozen(0x19));
}

TEST_CASE("a mount is not confused with another one on top of it") {
    FakeKernel kernel;
    // Another filesystem is mounted over /srv and /bind; the FIFO's path was opened before.
    kernel.filesystems[0x77];
    kernel.files["/fifo"] = {S_IFIFO, FakeKernel::ext4, FakeKernel::ext4, 0, 30};
    kernel.files["/"] = {S_IFDIR, 0x77, 0x77, 0, 1};
    kernel.files["/srv"] = {S_IFDIR, 0x77, 0x77, 0, 90};
    kernel.files["/bind"] = {S_IFDIR, 0x77, 0x77, 0, 90};
    kernel.table.push_back({90, 0x77, "/srv", "xfs", "/dev/sdd"});
    const auto error = refused("/fifo");
    CHECK(error.code() == std::errc::not_a_directory);
    CHECK(contains(error, "no directory of its filesystem can be opened"));
    CHECK(kernel.count("FIFREEZE") == 0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a bind-mounted regular file whose filesystem has no directory here is opened itself") {
    FakeKernel kernel;
    kernel.files = {{"/etc", {S_IFDIR, 0x77, 0x77, 0, 1}},
                    {"/etc/hosts", {S_IFREG, FakeKernel::ext4, FakeKernel::ext4, 0, 80}}};
    kernel.table = {{80, FakeKernel::ext4, "/etc/hosts", "ext4", "/dev/sda1"}};
    const FreezeGuard guard("/etc/hosts");
    CHECK(kernel.is_frozen(FakeKernel::ext4));
    CHECK(guard.filesystem().mountpoint == "/etc/hosts");
    const auto& last = *std::find_if(kernel.calls.rbegin(), kernel.calls.rend(),
                                     [](const auto& call) { return call.name == "openat"; });
    CHECK((last.argument & O_NONBLOCK) != 0);
}

TEST_CASE("a mount of another namespace can be frozen without a mountpoint here") {
    FakeKernel kernel;
    kernel.table.clear();
    const auto path = GENERATE("/srv", "/srv/dir/fifo");
    const FreezeGuard guard(path);
    CHECK(kernel.is_frozen(FakeKernel::ext4));
    CHECK(guard.filesystem().mountpoint.empty());
    CHECK(guard.filesystem().type.empty());
}

TEST_CASE("probe distinguishes kernels and changes nothing") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    REQUIRE(kernel.foreign_freeze(200, FakeKernel::ext4) == 0);
    CHECK(libfreeze::probe("/srv").timeout == kernel.patched);
    CHECK(kernel.is_frozen(FakeKernel::ext4));
    if (kernel.patched) {
        CHECK_FALSE(kernel.filesystems[FakeKernel::ext4].holds.front().deadline);
    }
    CHECK(kernel.count("FIFREEZE") + kernel.count("FITHAW") + kernel.count("FIFREEZE_TIMEOUT") ==
          0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("probe reports errors") {
    FakeKernel kernel;
    std::error_code error;
    CHECK_FALSE(libfreeze::probe("/none", error).timeout);
    CHECK(error == std::errc::no_such_file_or_directory);
    CHECK_THROWS_AS(libfreeze::probe("/none"), std::system_error);
    CHECK(libfreeze::probe("/srv", error).timeout);
    CHECK_FALSE(error);
}
