// SPDX-License-Identifier: LGPL-2.1-or-later
/// inspect(), probe(), thaw_others() and the reports.
#include "fake_kernel.hpp"

#include "report.hpp"

#include <libfreeze/freeze.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <fcntl.h>
#include <sys/sysmacros.h>

using testing::FakeKernel;
using testing::Patches;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;

struct Deleter {
    void operator()(libfreeze_report* report) const { libfreeze_report_free(report); }
};
using Report = std::unique_ptr<libfreeze_report, Deleter>;

int inspect(const char* path, Report* report) {
    libfreeze_report* made = nullptr;
    const int result = libfreeze_inspect(&path, path == nullptr ? 0 : 1, 0, &made);
    report->reset(made);
    return result;
}

int thaw_others(const char* path, Report* report) {
    libfreeze_report* made = nullptr;
    const int result = libfreeze_thaw_others(path, 0, &made);
    report->reset(made);
    return result;
}

libfreeze_status status_of(const Report& report, std::size_t number = 0) {
    libfreeze_status status{};
    REQUIRE(libfreeze_report_status(report.get(), number, &status, sizeof(status)) == 0);
    return status;
}

libfreeze_hold hold_of(const Report& report, std::size_t hold) {
    libfreeze_hold result{};
    REQUIRE(libfreeze_report_hold(report.get(), 0, hold, &result, sizeof(result)) == 0);
    return result;
}

bool says(const char* text, const std::string& part) {
    INFO(text);
    return std::string(text).find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a stock kernel without a guardian cannot tell") {
    FakeKernel kernel;
    kernel.patches = Patches::none;
    Report report;
    REQUIRE(inspect("/srv/dir", &report) == 0);
    const libfreeze_status status = status_of(report);
    CHECK(libfreeze_report_count(report.get()) == 1);
    CHECK(std::string(status.filesystem.path) == "/srv/dir");
    CHECK(std::string(status.filesystem.mountpoint) == "/srv");
    CHECK(std::string(status.filesystem.source) == "/dev/sda1");
    CHECK(status.filesystem.device_major == 8);
    CHECK(status.filesystem.device_minor == 1);
    CHECK(status.freezable == 1);
    CHECK(status.state == LIBFREEZE_STATE_UNKNOWN);
    CHECK(says(status.reason, "no guardian"));
    CHECK(status.frozen_ms == -1);
    CHECK(status.stack_complete == 1);
    CHECK(status.dirty_bytes == -1);
    CHECK(says(status.dirty_source, "mount debugfs"));
    CHECK(status.other_mountpoint_count == 1);
    CHECK(std::string(libfreeze_report_mountpoint(report.get(), 0, 0)) == "/bind");
    CHECK(libfreeze_report_mountpoint(report.get(), 0, 1) == nullptr);
    CHECK(kernel.count("FIFREEZE") + kernel.count("FITHAW") == 0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("a kernel with status reports the holders") {
    FakeKernel kernel;
    kernel.patches = Patches::all;
    Report report;
    REQUIRE(inspect("/srv", &report) == 0);
    CHECK(status_of(report).state == LIBFREEZE_STATE_UNFROZEN);
    for (int i = 0; i < 40; ++i) {
        REQUIRE(kernel.foreign_freeze(200 + i, ext4, i == 0 ? 60 : 0) == 0);
    }
    kernel.exit_process(201);
    kernel.advance(std::chrono::seconds(5));
    REQUIRE(inspect("/srv", &report) == 0);
    const libfreeze_status status = status_of(report);
    CHECK(status.state == LIBFREEZE_STATE_FROZEN);
    CHECK(std::string(status.reason).empty());
    CHECK(status.frozen_ms == 5000);
    REQUIRE(status.hold_count == 40);
    CHECK(hold_of(report, 0).left_ms == 55000);
    CHECK(hold_of(report, 0).pid == 200);
    CHECK(hold_of(report, 0).age_ms == 5000);
    CHECK(std::string(hold_of(report, 0).id).empty());
    CHECK(hold_of(report, 1).left_ms == -1);
    CHECK(hold_of(report, 1).flags == LIBFREEZE_HOLD_GONE);
}

TEST_CASE("the holders are not reported without privilege, the state is") {
    FakeKernel kernel;
    kernel.patches = Patches::all;
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    int asked = 0;
    kernel.failing_errno = EPERM;
    kernel.failing_request = [&](const std::string& name, dev_t) {
        return name == "FIFREEZE_STATUS" && asked++ == 0;
    };
    Report report;
    REQUIRE(inspect("/srv", &report) == 0);
    CHECK(status_of(report).state == LIBFREEZE_STATE_FROZEN);
    CHECK(status_of(report).hold_count == 0);
}

TEST_CASE("a guardian that was killed leaves a lock file") {
    FakeKernel kernel;
    kernel.patches = Patches::none;
    const std::string file = "/run/libfreeze/8:1.lock";
    kernel.texts[file] = "frozen\n";
    Report report;
    REQUIRE(inspect("/srv", &report) == 0);
    CHECK(status_of(report).state == LIBFREEZE_STATE_FROZEN);
    CHECK(says(status_of(report).reason, "guardian was killed"));
    SECTION("thawing clears it") {
        REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
        REQUIRE(thaw_others("/srv", &report) == 0);
        CHECK_FALSE(kernel.is_frozen(ext4));
        CHECK(kernel.texts[file].empty());
        REQUIRE(inspect("/srv", &report) == 0);
        CHECK(status_of(report).state == LIBFREEZE_STATE_UNKNOWN);
    }
    SECTION("a guardian has it locked") {
        kernel.locked = {file};
        REQUIRE(inspect("/srv", &report) == 0);
        CHECK(status_of(report).state == LIBFREEZE_STATE_UNKNOWN);
        CHECK(says(status_of(report).reason, "does not answer"));
    }
    CHECK(kernel.open_files.empty());
}

TEST_CASE("what cannot be frozen") {
    FakeKernel kernel;
    kernel.patches = GENERATE(Patches::none, Patches::timeouts, Patches::all);
    Report report;
    REQUIRE(inspect("/proc", &report) == 0);
    CHECK(status_of(report).freezable == 0);
    CHECK(status_of(report).state == LIBFREEZE_STATE_UNFROZEN);
    CHECK(says(status_of(report).reason, "cannot be frozen"));
    SECTION("the kernel knows better than the type") {
        kernel.filesystems[ext4].freezable = false;
        REQUIRE(inspect("/srv", &report) == 0);
        CHECK(status_of(report).freezable == (kernel.patches == Patches::none ? 1 : 0));
    }
    SECTION("an unknown type") {
        kernel.table[1].type = "newfs";
        REQUIRE(inspect("/srv", &report) == 0);
        CHECK(status_of(report).freezable == (kernel.patches == Patches::none ? -1 : 1));
    }
}

TEST_CASE("all filesystems, without those that cannot be frozen") {
    FakeKernel kernel;
    kernel.table.push_back({90, 0x91, "/nfs", "nfs4", "server:/", "/"});
    kernel.table.push_back({91, 0x92, "/fuse", "fuse.sshfs", "host:", "/"});
    kernel.dead = {"/nfs", "/fuse"};
    Report report;
    REQUIRE(inspect(nullptr, &report) == 0);
    REQUIRE(libfreeze_report_count(report.get()) == 2);
    CHECK(std::string(status_of(report, 0).filesystem.mountpoint) == "/srv");
    CHECK(std::string(status_of(report, 0).filesystem.path) == "/srv");
    CHECK(std::string(status_of(report, 1).filesystem.type) == "btrfs");
    CHECK(kernel.hung == 0);
}

TEST_CASE("a mount that another one hides is listed, and not taken for it") {
    FakeKernel kernel;
    kernel.patches = Patches::all;
    kernel.mount("/srv", makedev(8, 0x20), "sdc");
    REQUIRE(kernel.foreign_freeze(200, makedev(8, 0x20)) == 0);
    Report report;
    REQUIRE(inspect(nullptr, &report) == 0);
    CHECK(status_of(report, 0).filesystem.device_minor == 1);
    CHECK(status_of(report, 0).state == LIBFREEZE_STATE_UNKNOWN);
    CHECK(status_of(report, 2).state == LIBFREEZE_STATE_FROZEN);
}

TEST_CASE("the stack, with names") {
    FakeKernel kernel;
    kernel.add_loop(makedev(7, 0), "loop0", "/srv/dir/file");
    kernel.mount("/image", makedev(7, 0), "loop0");
    Report report;
    REQUIRE(inspect("/image", &report) == 0);
    REQUIRE(status_of(report).below_count == 1);
    const libfreeze_filesystem* const below = libfreeze_report_below(report.get(), 0, 0);
    REQUIRE(below != nullptr);
    CHECK(std::string(below->mountpoint) == "/srv");
    CHECK(std::string(below->type) == "ext4");
    CHECK(libfreeze_report_below(report.get(), 0, 1) == nullptr);
    CHECK(libfreeze_report_below(report.get(), 1, 0) == nullptr);
}

TEST_CASE("dirty data, from the counters of the disk") {
    FakeKernel kernel;
    const std::string text = "BdiWriteback: 0 kB\nBdiReclaimable: 12 kB\n";
    Report report;
    kernel.texts["/sys/kernel/debug/bdi/8:0/stats"] = text;
    REQUIRE(inspect("/srv", &report) == 0);
    CHECK(status_of(report).dirty_bytes == 12 * 1024);
    CHECK(says(status_of(report).dirty_source, "/sys/kernel/debug/bdi/8:0/stats"));
    kernel.texts["/sys/kernel/debug/bdi/btrfs-1/stats"] = text;
    kernel.links["/sys/fs/btrfs/2222/bdi"] = "../../../devices/virtual/bdi/btrfs-1";
    REQUIRE(inspect("/pool", &report) == 0);
    CHECK(status_of(report).dirty_bytes == 12 * 1024);
    REQUIRE(inspect("/proc", &report) == 0);
    CHECK(status_of(report).dirty_bytes == -1);
}

TEST_CASE("a suspended device") {
    FakeKernel kernel;
    kernel.patches = Patches::none;
    kernel.texts["/sys/dev/block/8:1/dm/suspended"] = "1\n";
    Report report;
    REQUIRE(inspect("/srv", &report) == 0);
    CHECK(status_of(report).suspended == 1);
    CHECK(says(status_of(report).reason, "device-mapper has suspended"));
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    CHECK(thaw_others("/srv", &report) == -EBUSY);
    CHECK(kernel.count("FITHAW") == 0);
    kernel.patches = Patches::none;
    kernel.texts["/sys/dev/block/8:1/dm/suspended"] = "0\n";
    CHECK(thaw_others("/srv", &report) == 0);
}

TEST_CASE("thaw_others ends the freezes of all") {
    FakeKernel kernel;
    kernel.patches = GENERATE(Patches::none, Patches::timeouts, Patches::all);
    Report report;
    CHECK(thaw_others("/srv", &report) == -ESRCH);
    CHECK(report == nullptr);
    CHECK(says(libfreeze_error_message(), "cannot thaw '/srv' (ext4): it is not frozen"));
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    const std::size_t count = kernel.patches == Patches::none ? 1 : 2;
    if (count == 2) {
        REQUIRE(kernel.foreign_freeze(201, ext4) == 0);
    }
    REQUIRE(thaw_others("/srv/dir", &report) == 0);
    CHECK_FALSE(kernel.is_frozen(ext4));
    REQUIRE(status_of(report).hold_count == count);
    CHECK(status_of(report).state == LIBFREEZE_STATE_UNFROZEN);
    CHECK(std::string(hold_of(report, 0).ended) == "thawed");
    CHECK(hold_of(report, 0).pid == (kernel.patches == Patches::all ? 200 : 0));
    CHECK(kernel.open_files.empty());
    CHECK(libfreeze_thaw_others("/srv", 0, nullptr) == -ESRCH);
}

TEST_CASE("a filesystem that was unmounted while it was frozen is thawed by its device") {
    FakeKernel kernel;
    kernel.patches = GENERATE(Patches::none, Patches::timeouts);
    constexpr dev_t sdc = 0x820;
    Report report;
    CHECK(thaw_others("/dev/sdc", &report) == -ESRCH); // in use by nobody
    CHECK(kernel.count("open_unmounted") == 0);
    kernel.filesystems[sdc];
    kernel.unmounted["/dev/sdc"] = sdc;
    kernel.texts["/sys/fs/xfs/sdc/log/log_head_lsn"] = "1\n";
    REQUIRE(kernel.foreign_freeze(200, sdc) == 0);
    REQUIRE(thaw_others("/dev/sdc", &report) == 0);
    CHECK_FALSE(kernel.is_frozen(sdc));
    CHECK(std::string(status_of(report).filesystem.type) == "xfs");
    CHECK(status_of(report).hold_count == 1);
    CHECK(thaw_others("/dev/sdc", &report) == -ESRCH);
    CHECK(kernel.open_files.empty());
    kernel.unmounted.clear();
    CHECK(thaw_others("/dev/sdc", &report) == -ENXIO);
}

TEST_CASE("the device of a mounted filesystem stands for it in thaw_others") {
    FakeKernel kernel;
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    Report report;
    REQUIRE(thaw_others("/dev/sda1", &report) == 0);
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(kernel.count("open_unmounted") == 0);
    CHECK(kernel.opened_specials == 0);
}

TEST_CASE("probe distinguishes kernels and changes nothing") {
    FakeKernel kernel;
    kernel.patches = GENERATE(Patches::none, Patches::timeouts, Patches::all);
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    libfreeze_features features{};
    REQUIRE(libfreeze_probe("/srv", &features, sizeof(features)) == 0);
    CHECK(features.kernel_timeouts == (kernel.patches == Patches::none ? 0 : 1));
    CHECK(features.descriptors == (kernel.patches == Patches::all ? 1 : 0));
    CHECK(features.status == features.descriptors);
    CHECK(features.host_guardian == 0);
    CHECK(features.guardian_survives == 1);
    kernel.links["/proc/thread-self/ns/pid"] = "pid:[4026532000]";
    REQUIRE(libfreeze_probe("/srv", &features, sizeof(features)) == 0);
    CHECK(features.guardian_survives == 0);
    kernel.files["/run/libfreeze/guardian.socket"] = {S_IFSOCK, 0x19, 0x19, 0, 1, 9};
    REQUIRE(libfreeze_probe(nullptr, &features, sizeof(features)) == 0);
    CHECK(features.host_guardian == 1);
    CHECK(features.guardian_survives == 1);
    CHECK(kernel.is_frozen(ext4));
    CHECK(kernel.count("FIFREEZE") + kernel.count("FITHAW") == 0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("probe recognises descriptors on a filesystem that cannot be frozen") {
    FakeKernel kernel;
    kernel.patches = GENERATE(Patches::timeouts, Patches::all);
    kernel.filesystems[ext4].freezable = false;
    libfreeze_features features{};
    REQUIRE(libfreeze_probe("/srv", &features, sizeof(features)) == 0);
    CHECK(features.descriptors == (kernel.patches == Patches::all ? 1 : 0));
    CHECK(features.gives_up == features.descriptors);
}

TEST_CASE("probe needs privilege") {
    FakeKernel kernel;
    kernel.patches = GENERATE(Patches::none, Patches::timeouts);
    libfreeze_features features{};
    SECTION("by the kernel") {
        kernel.failing_errno = EPERM;
        kernel.failing_request = [](const std::string& name, dev_t) {
            return name == "FIFREEZE_RESET_TIMEOUT";
        };
        CHECK(libfreeze_probe("/srv", &features, sizeof(features)) == -EPERM);
    }
    SECTION("by the capabilities") {
        kernel.texts["/proc/thread-self/status"] = "CapEff:\t00000000000000ff\n";
        CHECK(libfreeze_probe("/srv", &features, sizeof(features)) == -EPERM);
        kernel.texts["/proc/thread-self/status"] = "CapEff:\t000001ffffffffff\n";
        CHECK(libfreeze_probe("/srv", &features, sizeof(features)) == 0);
    }
    SECTION("a path that is not there") {
        CHECK(libfreeze_probe("/none", &features, sizeof(features)) == -ENOENT);
    }
}

TEST_CASE("structs of other sizes") {
    FakeKernel kernel;
    Report report;
    REQUIRE(inspect("/srv", &report) == 0);
    struct Larger {
        libfreeze_status known;
        char more[16];
    } larger{};
    std::memset(&larger, 0xff, sizeof(larger));
    // NOLINTNEXTLINE(bugprone-sizeof-expression): what a program with a later header does
    REQUIRE(libfreeze_report_status(report.get(), 0, &larger.known, sizeof(larger)) == 0);
    CHECK(larger.known.freezable == 1);
    CHECK(std::string(larger.more, sizeof(larger.more)) == std::string(sizeof(larger.more), '\0'));
    libfreeze_status smaller{};
    smaller.rank = 77;
    const std::size_t size = offsetof(libfreeze_status, rank);
    REQUIRE(libfreeze_report_status(report.get(), 0, &smaller, size) == 0);
    CHECK(smaller.freezable == 1);
    CHECK(smaller.rank == 77);
}

TEST_CASE("misuse of the report functions") {
    FakeKernel kernel;
    Report report;
    REQUIRE(inspect("/srv", &report) == 0);
    libfreeze_status status{};
    libfreeze_hold hold{};
    CHECK(libfreeze_report_status(report.get(), 1, &status, sizeof(status)) == -EINVAL);
    CHECK(libfreeze_report_status(nullptr, 0, &status, sizeof(status)) == -EINVAL);
    CHECK(libfreeze_report_status(report.get(), 0, nullptr, sizeof(status)) == -EINVAL);
    CHECK(libfreeze_report_hold(report.get(), 0, 0, &hold, sizeof(hold)) == -EINVAL);
    CHECK(libfreeze_report_hold(report.get(), 0, 0, nullptr, sizeof(hold)) == -EINVAL);
    CHECK(libfreeze_report_mountpoint(nullptr, 0, 0) == nullptr);
    CHECK(libfreeze_report_count(nullptr) == 0);
    libfreeze_report_free(nullptr);
    CHECK(libfreeze_inspect(nullptr, 0, 0, nullptr) == -EINVAL);
    libfreeze_report* made = nullptr;
    CHECK(libfreeze_inspect(nullptr, 1, 0, &made) == -EINVAL);
    const char* const null = nullptr;
    CHECK(libfreeze_inspect(&null, 1, 0, &made) == -EINVAL);
    CHECK(libfreeze_inspect(nullptr, 0, -1, &made) == -ERANGE);
    CHECK(libfreeze_thaw_others(nullptr, 0, &made) == -EINVAL);
    CHECK(libfreeze_thaw_others("/srv", LIBFREEZE_MAX_TIMEOUT_MS + 1, &made) == -ERANGE);
    CHECK(libfreeze_probe("/srv", nullptr, 0) == -EINVAL);
}

TEST_CASE("failing calls of inspect and thaw_others leave nothing open") {
    FakeKernel kernel;
    kernel.patches = GENERATE(Patches::none, Patches::timeouts, Patches::all);
    kernel.failing_errno = GENERATE(EIO, ENOMEM);
    kernel.failing_call = GENERATE(range(0, 60));
    REQUIRE(kernel.foreign_freeze(200, ext4) == 0);
    Report report;
    inspect("/srv", &report);
    const int result = thaw_others("/srv", &report);
    CHECK((result != 0 || !kernel.is_frozen(ext4)));
    CHECK(kernel.open_files.empty());
}
