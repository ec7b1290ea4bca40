// SPDX-License-Identifier: LGPL-2.1-or-later
/// Guards of several filesystems: which paths are the same, the order, and what happens to the
/// others when one fails.
#include "calls.hpp"
#include "fake_kernel.hpp"
#include "reports.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <pthread.h>
#include <sys/sysmacros.h>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::Options;
using testing::contains;
using testing::FakeKernel;
using testing::Reports;
using Paths = std::vector<std::filesystem::path>;
using testing::with_timeout;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;
constexpr dev_t btrfs = FakeKernel::btrfs;
constexpr dev_t loop = 0x700;    // 7:0
constexpr dev_t mapped = 0xfd00; // 253:0

std::optional<std::system_error> refused(const Paths& paths, const Options& options = {}) {
    try {
        const FreezeGuard guard(paths, options);
    } catch (const std::system_error& error) {
        return error;
    }
    return std::nullopt;
}

Options skipping() {
    Options options;
    options.unfreezable = libfreeze::Unfreezable::skip;
    return options;
}

/// /image is in a file on /srv, in a loop device; /deep in a file on /image, in one under
/// device-mapper.
void stack_three(FakeKernel& kernel) {
    kernel.mount("/image", loop, "loop0");
    kernel.files["/srv/image"] = {S_IFREG, ext4, ext4, 0, 30};
    kernel.sysfs["/sys/dev/block/7:0/loop/backing_file"] = "/srv/image\n";
    kernel.mount("/deep", mapped, "dm-0");
    kernel.sysfs["/sys/dev/block/253:0/slaves/loop1/dev"] = "7:1\n";
    kernel.sysfs["/sys/dev/block/7:1/dev"] = "7:1\n";
    kernel.files["/image/deep"] = {S_IFREG, loop, loop, 0, kernel.files["/image"].mount_id};
    kernel.sysfs["/sys/dev/block/7:1/loop/backing_file"] = "/image/deep\n";
    kernel.stacked = {{loop, {ext4}}, {mapped, {loop, ext4}}};
}

/// Fails that request for that superblock, once or for good.
void fail(FakeKernel& kernel, const std::string& name, dev_t superblock, int error, bool sticky) {
    kernel.failing_errno = error;
    kernel.failing_request = [name, superblock, sticky, left = 1](const std::string& request,
                                                                  dev_t target) mutable {
        return request == name && target == superblock && (sticky || left-- > 0);
    };
}

bool none_frozen(FakeKernel& kernel) {
    return std::none_of(kernel.filesystems.begin(), kernel.filesystems.end(),
                        [](const auto& entry) { return entry.second.frozen; });
}

} // namespace

TEST_CASE("a guard of several filesystems freezes and thaws all of them") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    {
        FreezeGuard guard({"/srv/dir", "/pool"});
        CHECK(guard);
        CHECK(kernel.is_frozen(ext4));
        CHECK(kernel.is_frozen(btrfs));
        REQUIRE(guard.filesystems().size() == 2);
        CHECK(guard.filesystems()[0].mountpoint == "/srv");
        CHECK(guard.filesystems()[1].mountpoint == "/pool");
        CHECK(guard.filesystem().path == "/srv/dir");
        CHECK(kernel.open_files.size() == 2);
        guard.thaw();
        CHECK_FALSE(guard);
        CHECK(guard.filesystems().empty());
        CHECK(none_frozen(kernel));
        CHECK(kernel.open_files.empty());
        const FreezeGuard again({"/srv", "/pool"});
        CHECK(kernel.is_frozen(btrfs));
    }
    CHECK(none_frozen(kernel));
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
}

TEST_CASE("lists of paths of any type are taken as lists") {
    FakeKernel kernel;
    std::error_code error;
    const std::filesystem::path path = "/srv";
    { const FreezeGuard guard({"/srv", "/bind"}, error); } // not one path by two iterators
    { const FreezeGuard guard({"/srv"}, {}, error); }
    { const FreezeGuard guard({path, "/pool"}, Options(), error); }
    { const FreezeGuard guard(Paths{"/srv", "/pool"}, error); }
    { const FreezeGuard guard({std::string("/srv"), std::string("/pool")}); }
    CHECK_FALSE(error);
    CHECK(kernel.requested("FIFREEZE").size() == 8);
    CHECK_FALSE(FreezeGuard({"/srv", "/none"}, error));
    CHECK(error == std::errc::no_such_file_or_directory);
    CHECK_THROWS_AS(FreezeGuard(Paths()), std::logic_error);
}

TEST_CASE("paths on one filesystem count once") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    FreezeGuard guard({"/bind", "/srv", "/pool/sub", "/srv/dir/file", "/pool", "/bind"});
    CHECK(kernel.requested("FIFREEZE").size() == 2);
    REQUIRE(guard.filesystems().size() == 2);
    CHECK(guard.filesystems()[0].path == "/bind");
    CHECK(guard.filesystems()[1].path == "/pool/sub");
    CHECK(kernel.open_files.size() == 2);
    guard.thaw();
    CHECK(kernel.requested("FITHAW").size() == 2);
    CHECK(none_frozen(kernel));
}

TEST_CASE("the upper filesystem is frozen first and thawed last") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    stack_three(kernel);
    Paths paths{"/srv", "/image", "/deep"};
    do {
        kernel.calls.clear();
        FreezeGuard guard(paths);
        CHECK(guard.filesystem().path == "/deep");
        guard.thaw();
        CHECK(kernel.requested("FIFREEZE") == std::vector{mapped, loop, ext4});
        CHECK(kernel.requested("FITHAW") == std::vector{ext4, loop, mapped});
    } while (std::next_permutation(paths.begin(), paths.end()));
    { const FreezeGuard guard({"/srv", "/deep"}); } // with what is between them not frozen
    CHECK(kernel.stuck == 0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE("stacked filesystems are detected") {
    FakeKernel kernel;
    stack_three(kernel);
    dev_t top = loop;
    std::string path = "/image";
    SECTION("in a partition of a loop device") {
        top = makedev(259, 0);
        path = "/partition";
        kernel.mount(path, top, "loop0p1");
        kernel.sysfs["/sys/dev/block/259:0/partition"] = "1\n";
        kernel.sysfs["/sys/dev/block/259:0/../dev"] = "7:0\n";
    }
    SECTION("through a loop device over a loop device") {
        top = makedev(7, 2);
        path = "/loop";
        kernel.mount(path, top, "loop2");
        kernel.sysfs["/sys/dev/block/7:2/loop/backing_file"] = "/dev/loop0\n";
    }
    SECTION("by the second of its volume's devices") {
        top = mapped;
        path = "/deep";
        kernel.sysfs["/sys/dev/block/253:0/slaves/loop1/dev"] = "8:16\n";
        kernel.sysfs["/sys/dev/block/253:0/slaves/loop3/dev"] = "7:0\n";
    }
    SECTION("by the second device of btrfs") {
        top = btrfs;
        path = "/pool/sub";
        kernel.sysfs["/sys/fs/btrfs/features/mixed_groups"] = "0\n";
        kernel.sysfs["/sys/fs/btrfs/1111/devices/sdz/dev"] = "65:0\n";
        kernel.sysfs["/sys/fs/btrfs/2222/devices/loop0/dev"] = "7:0\n";
    }
    SECTION("in an image file in an overlay") {
        const dev_t overlay = 0x99;
        kernel.table.push_back({99, overlay, "/merged", "overlay", "overlay", {"/srv/dir"}});
        kernel.files["/merged/image"] = {S_IFREG, overlay, overlay, 0, 99};
        kernel.sysfs["/sys/dev/block/7:0/loop/backing_file"] = "/merged/image\n";
    }
    SECTION("by its log") {
        top = makedev(65, 0);
        path = "/xfs";
        kernel.mount(path, top, "sdz");
        kernel.table.back().stores = {"/dev/loop0"};
    }
    SECTION("in a file that is gone") {
        kernel.sysfs["/sys/dev/block/7:0/loop/backing_file"] = "/srv/image (deleted)\n";
    }
    SECTION("without a device in sysfs") {
        kernel.sysfs.erase("/sys/dev/block/7:0/dev");
    }
    SECTION("in another mount namespace, so that its devices are not known") {
        top = btrfs;
        path = "/pool";
        kernel.table.erase(kernel.table.begin() + 2);
        REQUIRE(kernel.table[1].target == "/bind");
        kernel.filesystems[0x2b]; // its superblock is not known either
        kernel.files["/pool"].superblock = top = 0x2b;
    }
    kernel.stacked = {{top, {ext4}}};
    for (const Paths& paths : {Paths{"/srv", path}, Paths{path, "/srv"}}) {
        kernel.calls.clear();
        FreezeGuard guard(paths);
        guard.thaw();
        CHECK(kernel.requested("FIFREEZE") == std::vector{top, ext4});
        CHECK(kernel.requested("FITHAW") == std::vector{ext4, top});
    }
    CHECK(kernel.stuck == 0);
}

TEST_CASE("without information on stacking, the last mounted filesystem is frozen first") {
    FakeKernel kernel;
    stack_three(kernel);
    kernel.sysfs.clear();
    for (const Paths& paths :
         {Paths{"/srv", "/image", "/deep"}, Paths{"/deep", "/image", "/srv"}}) {
        kernel.calls.clear();
        { const FreezeGuard guard(paths); }
        CHECK(kernel.requested("FIFREEZE") == std::vector{mapped, loop, ext4});
    }
    CHECK(kernel.stuck == 0);
}

TEST_CASE("an impossible cycle of stacked devices does no harm") {
    FakeKernel kernel;
    stack_three(kernel);
    kernel.sysfs["/sys/dev/block/7:0/slaves/dm-0/dev"] = "253:0\n";
    kernel.files["/image/loop"] = kernel.files["/image/deep"];
    kernel.sysfs["/sys/dev/block/8:0/loop/backing_file"] = "/image/loop\n";
    kernel.stacked.clear();
    { const FreezeGuard guard({"/srv", "/image", "/deep"}); }
    CHECK(kernel.requested("FIFREEZE").size() == 3);
    CHECK(none_frozen(kernel));
}

TEST_CASE("independent filesystems are frozen and thawed at the same time") {
    FakeKernel kernel;
    const bool have_threads = GENERATE(true, false);
    kernel.mount("/other", mapped, "dm-0");
    pthread_attr_t before;
    REQUIRE(::pthread_getattr_default_np(&before) == 0);
    if (!have_threads) { // then one after another
        pthread_attr_t huge;
        ::pthread_attr_init(&huge);
        REQUIRE(::pthread_attr_setstacksize(&huge, std::size_t(1) << 50U) == 0);
        REQUIRE(::pthread_setattr_default_np(&huge) == 0);
    }
    std::mutex mutex;
    std::condition_variable arrived;
    std::size_t waiting = 0;
    std::size_t met = 0;
    kernel.on_request = [&](const std::string& name, dev_t /*unused*/) {
        if (name == "FIFREEZE" || name == "FITHAW") {
            std::unique_lock lock(mutex);
            ++waiting;
            arrived.notify_all();
            met +=
                arrived.wait_for(lock, have_threads ? 10s : 10ms, [&] { return waiting % 3 == 0; })
                    ? 1
                    : 0;
        }
    };
    FreezeGuard guard({"/srv", "/pool", "/other"});
    CHECK(met == (have_threads ? 3 : 1));
    guard.thaw();
    CHECK(met == (have_threads ? 6 : 2));
    ::pthread_setattr_default_np(&before);
    CHECK(none_frozen(kernel));
}

TEST_CASE("if one cannot be frozen, the others are thawed and the error names it") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const bool independent = GENERATE(false, true);
    stack_three(kernel);
    const Reports reports;
    fail(kernel, "FIFREEZE", ext4, EIO, false);
    const auto error = refused({"/srv", independent ? "/pool" : "/image", "/deep"});
    REQUIRE(error);
    CHECK(error->code() == std::errc::io_error);
    CHECK(contains(*error, "cannot freeze '/srv' (ext4): "));
    CHECK(none_frozen(kernel));
    CHECK(kernel.stuck == 0);
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
    CHECK((independent || kernel.requested("FITHAW") == std::vector{loop, mapped}));
}

TEST_CASE("a hold that ended before another freeze failed is not reported") {
    FakeKernel kernel;
    stack_three(kernel);
    const Reports reports;
    kernel.on_request = [&](const std::string& name, dev_t superblock) {
        if (name == "FIFREEZE" && superblock == ext4) {
            kernel.foreign_thaw(300, loop);
            kernel.failing_call = kernel.calls.size();
            kernel.failing_errno = EIO;
        }
    };
    CHECK(contains(*refused({"/srv", "/image"}), "'/srv'"));
    CHECK(none_frozen(kernel));
    CHECK(Reports::all().empty());
}

TEST_CASE("no thaw waits for a lower filesystem that takes too long to freeze") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    stack_three(kernel);
    const Reports reports;
    kernel.blocking = {ext4};
    Options options;
    options.acquire_timeout = 1s;
    options.flush_budget = 0s;
    const auto error = refused({"/srv", "/image", "/deep", "/pool"}, options);
    REQUIRE(error);
    CHECK(error->code() == errc::acquire_timeout);
    CHECK(contains(*error, "cannot freeze '/srv' (ext4): "));
    CHECK(kernel.stuck == 0);
    CHECK(none_frozen(kernel)); // their guardians go on without us
    CHECK(kernel.guardians.empty());
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
}

TEST_CASE("after the first failure nothing more is frozen") {
    FakeKernel kernel;
    stack_three(kernel);
    fail(kernel, "FIFREEZE", mapped, EIO, false);
    CHECK(contains(*refused({"/srv", "/image", "/deep"}), "'/deep'"));
    CHECK(kernel.requested("FIFREEZE") == std::vector{mapped});
}

TEST_CASE("a wrong path is detected before anything is frozen") {
    FakeKernel kernel;
    CHECK(contains(*refused({"/srv", "/none"}), "cannot freeze '/none'"));
    CHECK(contains(*refused({"/srv", "/dev/sda1"}), "'/dev/sda1': it is a block device"));
    CHECK(contains(*refused({"/srv", "/dev/sda1"}, skipping()), "it is a block device"));
    CHECK(kernel.count("FIFREEZE") == 0);
    CHECK(kernel.open_files.empty());
}

TEST_CASE(
    "filesystems that stay frozen after a failed freeze are reported in addition to the error") {
    FakeKernel kernel;
    stack_three(kernel);
    const Reports reports;
    kernel.failing_request = [&](const std::string& name, dev_t superblock) {
        kernel.failing_errno = name == "FITHAW" ? EPERM : EIO;
        return (name == "FITHAW" && superblock == loop) ||
               (name == "FIFREEZE" && superblock == ext4);
    };
    const auto error = refused({"/deep", "/image", "/srv"});
    CHECK(error->code() == std::errc::io_error);
    REQUIRE(Reports::all().size() == 2);
    CHECK(contains(Reports::all()[0], "thaw '/deep' (ext4): it is still frozen"));
    CHECK(contains(Reports::all()[1], "thaw '/image' (ext4): CAP_SYS_ADMIN"));
    CHECK(kernel.stuck == 0);
}

TEST_CASE("filesystems that do not support freezing are an error or skipped, as the caller chose") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    kernel.filesystems[0x99].freezable = false;
    kernel.files["/merged"] = {S_IFDIR, 0x99, 0x99, 0, 99};
    kernel.table.push_back({99, 0x99, "/merged", "overlay", "overlay", {"/srv/dir"}});
    const Reports reports;
    CHECK(refused({"/srv", "/proc"})->code() == errc::not_supported);
    CHECK(contains(*refused({"/proc", "/srv"}), "'/proc' (proc)"));
    CHECK(contains(*refused({"/srv", "/merged"}), "name the filesystem that its upper directory"));
    CHECK(none_frozen(kernel));
    {
        FreezeGuard guard({"/proc", "/srv", "/merged"}, skipping());
        CHECK(kernel.is_frozen(ext4));
        CHECK(guard.filesystems().size() == 1);
        CHECK(guard.filesystem().path == "/srv");
        REQUIRE(guard.skipped().size() == 2);
        CHECK(guard.skipped()[0].path == "/merged"); // on top of /srv
        CHECK(guard.skipped()[1].path == "/proc");
        guard.thaw();
    }
    CHECK(refused({"/proc", "/merged"}, skipping())->code() == errc::not_supported);
    CHECK(none_frozen(kernel));
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
}

TEST_CASE("filesystems with other errors are not skipped") {
    FakeKernel kernel;
    kernel.patched = false;
    REQUIRE(kernel.foreign_freeze(200, btrfs) == 0);
    const auto error = refused({"/srv", "/pool"}, skipping());
    REQUIRE(error);
    CHECK(error->code() == errc::already_frozen);
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("if any freeze ended early, the guard has expired and the others are thawed") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    stack_three(kernel);
    const dev_t broken = GENERATE(ext4, loop, mapped);
    const Reports reports;
    {
        FreezeGuard guard({"/srv", "/image", "/deep"});
        REQUIRE(kernel.foreign_thaw(300, broken) == 0);
        try {
            guard.thaw();
            FAIL("reported as success");
        } catch (const std::system_error& error) {
            CHECK(error.code() == errc::expired);
            const auto* const path = broken == ext4   ? "'/srv'"
                                     : broken == loop ? "'/image'"
                                                      : "'/deep'";
            CHECK(contains(error, path));
        }
        CHECK_FALSE(guard);
    }
    CHECK(none_frozen(kernel));
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
}

TEST_CASE("a destructor reports each freeze that ended early") {
    FakeKernel kernel;
    const Reports reports;
    {
        const FreezeGuard guard({"/srv", "/pool"}, with_timeout(10s));
        kernel.advance(10s);
    }
    CHECK(Reports::all().size() == 2);
    Reports::all().clear();
    {
        FreezeGuard guard({"/srv", "/pool"}, with_timeout(10s));
        kernel.advance(10s);
        std::error_code error;
        guard.extend(10s, error);
        CHECK(error == errc::expired);
        CHECK(guard);
    }
    CHECK(Reports::all().empty());
}

TEST_CASE("extend moves all deadlines and reports if any freeze has ended") {
    FakeKernel kernel;
    FreezeGuard guard({"/srv", "/pool"}, with_timeout(10s));
    kernel.advance(9s);
    guard.extend(10s);
    kernel.advance(9s);
    CHECK(kernel.is_frozen(ext4));
    CHECK(kernel.is_frozen(btrfs));
    REQUIRE(kernel.foreign_thaw(300, btrfs) == 0);
    std::error_code error;
    guard.extend(10s, error);
    CHECK(error == errc::expired);
    guard.thaw(error);
    CHECK(error == errc::expired);
    CHECK(none_frozen(kernel));
}

TEST_CASE("the timeout of all starts when the last one is frozen") {
    FakeKernel kernel;
    stack_three(kernel);
    std::chrono::seconds slow = 6s;
    kernel.on_request = [&](const std::string& name, dev_t superblock) {
        if (name == "FIFREEZE_TIMEOUT" && superblock == ext4) {
            kernel.advance(slow);
        }
    };
    {
        FreezeGuard guard({"/srv", "/image"}, with_timeout(10s));
        kernel.advance(9s);
        guard.thaw();
    }
    slow = 10s;
    const Reports reports;
    const auto error = refused({"/srv", "/image"}, with_timeout(10s));
    REQUIRE(error);
    CHECK(error->code() == errc::expired);
    CHECK(contains(*error, "cannot freeze '/image' (ext4): its freeze ended while the others"));
    CHECK(none_frozen(kernel));
    CHECK(Reports::all().empty());
}

TEST_CASE("filesystems above one that cannot be thawed stay frozen, all others are thawed") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    stack_three(kernel);
    const bool sticky = GENERATE(false, true);
    const bool expired = GENERATE(false, true);
    const Reports reports;
    {
        FreezeGuard guard({"/srv", "/image", "/deep", "/pool"});
        fail(kernel, "FITHAW", loop, EIO, sticky);
        if (expired) {
            REQUIRE(kernel.foreign_thaw(300, btrfs) == 0);
        }
        std::error_code error;
        guard.thaw(error);
        CHECK(error == std::errc::io_error);
        CHECK(guard);
        CHECK_FALSE(kernel.is_frozen(ext4));
        CHECK_FALSE(kernel.is_frozen(btrfs));
        CHECK(kernel.is_frozen(loop));
        CHECK(kernel.is_frozen(mapped));
        guard.extend(10s, error);
        CHECK(error == (kernel.patched ? errc::expired : errc::unsupported_by_kernel));
        if (!sticky) {
            guard.thaw(error);
            CHECK(error ==
                  (expired ? std::error_condition(errc::expired) : std::error_condition()));
        }
    }
    CHECK(kernel.stuck == 0);
    CHECK(kernel.open_files.empty());
    if (sticky) {
        CHECK(kernel.is_frozen(mapped));
        CHECK(Reports::all().size() == (expired ? 3 : 2));
        CHECK(contains(Reports::all()[0], "thaw '/deep' (ext4): it is still frozen"));
        CHECK(contains(Reports::all()[0], "thaw that one first"));
        CHECK_FALSE(contains(Reports::all()[0], "fsfreeze -u '/deep'")); // it would hang
    } else {
        CHECK(none_frozen(kernel));
        CHECK(Reports::all().empty());
    }
}

TEST_CASE("groups and single guards of a process share its holds") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    FreezeGuard single("/srv");
    FreezeGuard group({"/pool", "/bind"});
    FreezeGuard other({"/srv", "/pool/sub"});
    CHECK(kernel.requested("FIFREEZE").size() >= 2);
    group.thaw();
    CHECK(kernel.is_frozen(ext4));
    CHECK(kernel.is_frozen(btrfs));
    other.thaw();
    CHECK(kernel.is_frozen(ext4));
    CHECK_FALSE(kernel.is_frozen(btrfs));
    single.thaw();
    CHECK(none_frozen(kernel));
    CHECK(Reports::all().empty());
}

TEST_CASE("a released group can be adopted one by one") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    FreezeGuard guard({"/srv", "/pool"});
    guard.release();
    CHECK_FALSE(guard);
    CHECK(kernel.is_frozen(ext4));
    CHECK(kernel.is_frozen(btrfs));
    FreezeGuard::adopt("/srv").thaw();
    FreezeGuard::adopt("/pool").thaw();
    CHECK(none_frozen(kernel));
}

TEST_CASE("a forked child cannot touch its parent's group") {
    FakeKernel kernel;
    const Reports reports;
    {
        FreezeGuard guard({"/srv", "/pool"});
        kernel.process = 101;
        CHECK_THROWS_AS(guard.thaw(), std::logic_error);
    }
    CHECK(kernel.holds_of(100, ext4) == 1);
    CHECK(kernel.holds_of(100, btrfs) == 1);
    CHECK(kernel.open_files.empty());
    CHECK(Reports::all().empty());
}

TEST_CASE("an invalid timeout of a group freezes nothing, and the error names a path") {
    FakeKernel kernel;
    CHECK(contains(*refused({"/srv", "/pool"}, with_timeout(-1s)), "cannot freeze '/srv'"));
    CHECK(kernel.calls.empty());
}
