// SPDX-License-Identifier: LGPL-2.1-or-later
/// In turn, every system call of every operation fails, with each possible error, once or
/// permanently; and an hour passes before each call and each reading of the clock.
#include "fake_kernel.hpp"
#include "reports.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <functional>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using libfreeze::FreezeGuard;
using testing::FakeKernel;
using testing::Reports;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;

/// The results that the program got.
struct Results {
    std::vector<std::error_code> errors;
    int thawed = 0;     ///< successes of thaw()
    bool lasted = true; ///< at each success, it had been frozen since the guard was made
};

using Scenario = std::function<void(FakeKernel&, Results&)>;

template <typename Function>
bool try_call(Results& results, Function&& function) {
    try {
        function();
        return true;
    } catch (const std::system_error& error) {
        results.errors.push_back(error.code());
        return false;
    }
}

void thaw(FakeKernel& kernel, FreezeGuard& guard, std::uint64_t thaws_before, Results& results) {
    auto& filesystem = kernel.filesystems[ext4];
    const bool frozen = filesystem.frozen && filesystem.thaws == thaws_before;
    if (guard && try_call(results, [&] { guard.thaw(); })) {
        results.lasted = results.lasted && frozen;
    }
}

libfreeze::Options timeout(const FakeKernel& kernel) {
    libfreeze::Options options;
    options.timeout = kernel.patched ? 30s : 0s;
    return options;
}

/// A new freeze exists, unless its timeout has already expired.
void check_frozen(FakeKernel& kernel, dev_t superblock) {
    CHECK((kernel.is_frozen(superblock) || kernel.late_call || kernel.late_reading));
}

void one_guard(FakeKernel& kernel, Results& results) {
    FreezeGuard guard;
    if (try_call(results, [&] { guard = FreezeGuard("/srv/dir", timeout(kernel)); })) {
        check_frozen(kernel, ext4);
    }
    if (guard && kernel.patched) {
        try_call(results, [&] { guard.extend(20s); });
    }
    thaw(kernel, guard, 0, results);
}

void through_a_fifo(FakeKernel& kernel, Results& results) {
    FreezeGuard guard;
    try_call(results, [&] { guard = FreezeGuard("/srv/dir/fifo"); });
    thaw(kernel, guard, 0, results);
}

void destructor_only(FakeKernel& kernel, Results& results) {
    try_call(results, [&] { const FreezeGuard guard("/srv", timeout(kernel)); });
}

void two_guards(FakeKernel& kernel, Results& results) {
    FreezeGuard first;
    FreezeGuard second;
    try_call(results, [&] { first = FreezeGuard("/srv", timeout(kernel)); });
    try_call(results, [&] { second = FreezeGuard("/bind"); });
    const std::uint64_t thaws_before_second = kernel.filesystems[ext4].thaws;
    thaw(kernel, first, 0, results);
    thaw(kernel, second, thaws_before_second, results);
}

/// The second is in an image file on the first.
void stacked_group(FakeKernel& kernel, Results& results) {
    constexpr dev_t loop = 0x700;
    kernel.mount("/image", loop, "loop0");
    kernel.files["/srv/image"] = {S_IFREG, ext4, ext4, 0, 30};
    kernel.sysfs["/sys/dev/block/7:0/loop/backing_file"] = "/srv/image\n";
    kernel.stacked = {{loop, {ext4}}};
    FreezeGuard guard;
    if (try_call(results, [&] { guard = FreezeGuard({"/srv", "/image"}, timeout(kernel)); })) {
        check_frozen(kernel, ext4);
        check_frozen(kernel, loop);
    }
    thaw(kernel, guard, 0, results);
    CHECK(kernel.stuck == 0);
}

void independent_group(FakeKernel& kernel, Results& results) {
    try_call(results, [&] { FreezeGuard({"/srv", "/pool"}, timeout(kernel)).thaw(); });
}

void released_and_adopted(FakeKernel& kernel, Results& results) {
    FreezeGuard guard;
    if (try_call(results, [&] { guard = FreezeGuard("/srv"); })) {
        guard.release();
        // So that nothing stays frozen intentionally if the library's adopt fails.
        for (int attempt = 0; attempt < 2 && !guard; ++attempt) {
            try_call(results, [&] { guard = FreezeGuard::adopt("/srv"); });
        }
        if (!guard) {
            kernel.foreign_thaw(kernel.process, ext4);
        }
    }
    thaw(kernel, guard, 0, results);
}

void guarded_group(FakeKernel& kernel, Results& results) {
    libfreeze::Options options;
    options.timeout = 30s;
    options.guardian = libfreeze::UseGuardian::always;
    FreezeGuard guard;
    try_call(results, [&] { guard = FreezeGuard({"/srv", "/pool"}, options); });
    if (guard) {
        try_call(results, [&] { guard.extend(20s); });
    }
    thaw(kernel, guard, 0, results);
}

void thawed_by_another(FakeKernel& kernel, Results& results) {
    FreezeGuard first;
    FreezeGuard second;
    const bool made = try_call(results, [&] { first = FreezeGuard("/srv"); });
    try_call(results, [&] { second = FreezeGuard("/srv"); });
    kernel.foreign_thaw(300, ext4);
    Results ignored;
    thaw(kernel, first, 0, made ? results : ignored);
    thaw(kernel, second, 0, results);
}

std::vector<int> errors_of(const std::string& call) {
    if (call == "openat") {
        return {ENOENT, EACCES, ELOOP, ENOTDIR, EMFILE, ENFILE, ENOMEM, EIO, EPERM};
    }
    if (call == "fstat") {
        return {EIO, ENOMEM, EOVERFLOW};
    }
    if (call == "mount_id" || call == "mounts") {
        return {ENOSYS, ENOENT, ENOMEM};
    }
    if (call == "read_file" || call == "list_directory") {
        return {EACCES, EMFILE, ENOMEM}; // ENOENT is a valid result
    }
    if (call == "start_guardian") {
        return {ENOENT, EACCES, EMFILE, ENOMEM, EAGAIN, EPIPE, ETIMEDOUT};
    }
    if (call == "ask_guardian") {
        return {EPIPE, ECONNRESET};
    }
    if (call == "FITHAW") {
        return {EPERM, EIO, ENOMEM};
    }
    if (call == "FIFREEZE_RESET_TIMEOUT") {
        return {EPERM, EACCES};
    }
    return {EPERM, EOPNOTSUPP, ENOMEM, EOVERFLOW, EIO, ENOSPC, EROFS};
}

void check_results(FakeKernel& kernel, const Results& results) {
    CHECK(kernel.open_files.empty());
    CHECK(results.lasted);
    const bool thaw_cannot_work =
        kernel.sticky && kernel.calls[*kernel.failing_call].name == "FITHAW";
    if (thaw_cannot_work) { // then each guard must have reported it
        CHECK(results.errors.size() + Reports::all().size() > 0);
    } else {
        for (const auto& [superblock, filesystem] : kernel.filesystems) {
            CHECK_FALSE(filesystem.frozen);
            CHECK(kernel.holds_of(kernel.process, superblock) == 0);
        }
    }
}

/// Runs the scenario for each of its calls and each error of that call, once or permanently.
void fail_everywhere(bool patched, const Scenario& scenario) {
    std::vector<std::string> names;
    {
        FakeKernel kernel;
        kernel.patched = patched;
        Results results;
        scenario(kernel, results);
        for (const auto& call : kernel.calls) {
            names.push_back(call.name);
        }
        REQUIRE_FALSE(kernel.is_frozen(ext4));
    }
    for (std::size_t number = 0; number < names.size(); ++number) {
        for (const int error : errors_of(names[number])) {
            for (const bool sticky : {false, true}) {
                const Reports reports;
                FakeKernel kernel;
                kernel.patched = patched;
                kernel.failing_call = number;
                kernel.failing_errno = error;
                kernel.sticky = sticky;
                INFO("call " << number << ", " << names[number] << ", error " << error
                             << (sticky ? " for good" : " once")
                             << (patched ? ", patched" : ", stock"));
                Results results;
                scenario(kernel, results);
                check_results(kernel, results);
            }
        }
    }
}

void check_late(FakeKernel& kernel, const Scenario& scenario) {
    const Reports reports;
    Results results;
    scenario(kernel, results);
    CHECK((kernel.late_call || kernel.readings > *kernel.late_reading));
    check_results(kernel, results);
}

void be_late_everywhere(bool patched, const Scenario& scenario) {
    FakeKernel punctual;
    punctual.patched = patched;
    Results results;
    scenario(punctual, results);
    for (std::size_t number = 0; number < punctual.calls.size(); ++number) {
        FakeKernel kernel;
        kernel.patched = patched;
        kernel.late_call = number;
        INFO("late: call " << number << ", " << punctual.calls[number].name);
        check_late(kernel, scenario);
    }
    for (std::size_t number = 0; number < punctual.readings; ++number) {
        FakeKernel kernel;
        kernel.patched = patched;
        kernel.late_reading = number;
        INFO("late: reading " << number << " of the clock");
        check_late(kernel, scenario);
    }
}

/// The failures that can happen at any point of a scenario.
void trouble_everywhere(bool patched, const Scenario& scenario) {
    fail_everywhere(patched, scenario);
    be_late_everywhere(patched, scenario);
}

} // namespace

TEST_CASE("no failing call leaves anything frozen or open, or is reported as success") {
    const bool patched = GENERATE(false, true);
    SECTION("one guard") {
        trouble_everywhere(patched, one_guard);
    }
    SECTION("through a FIFO") {
        trouble_everywhere(patched, through_a_fifo);
    }
    SECTION("destructor only") {
        trouble_everywhere(patched, destructor_only);
    }
    SECTION("two guards") {
        trouble_everywhere(patched, two_guards);
    }
    SECTION("stacked group") {
        trouble_everywhere(patched, stacked_group);
    }
    SECTION("independent group") {
        trouble_everywhere(patched, independent_group);
    }
    SECTION("released and adopted") {
        trouble_everywhere(patched, released_and_adopted);
    }
    SECTION("guarded group") {
        trouble_everywhere(patched, guarded_group);
    }
    SECTION("thawed by another") {
        trouble_everywhere(patched, thawed_by_another);
    }
}

TEST_CASE("a failed thaw can be repeated") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const int error = GENERATE(EIO, EPERM);
    FreezeGuard guard("/srv");
    kernel.failing_call = kernel.calls.size();
    kernel.failing_errno = error;
    std::error_code code;
    guard.thaw(code);
    CHECK(code == std::error_code(error, std::system_category()));
    CHECK(guard);
    CHECK(kernel.is_frozen(ext4));
    guard.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("a destructor tries to thaw twice") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    {
        const FreezeGuard guard("/srv");
        kernel.failing_call = kernel.calls.size();
        kernel.failing_errno = EIO;
    }
    CHECK_FALSE(kernel.is_frozen(ext4));
    CHECK(Reports::all().empty());
}

TEST_CASE("a destructor that cannot thaw reports that the filesystem is still frozen") {
    FakeKernel kernel;
    const Reports reports;
    {
        const FreezeGuard guard("/srv");
        kernel.failing_call = kernel.calls.size();
        kernel.failing_errno = EIO;
        kernel.sticky = true;
    }
    REQUIRE(Reports::all().size() == 1);
    const std::string text = Reports::all().front().what();
    CAPTURE(text);
    CHECK(text.find("cannot thaw '/srv' (ext4): it is still frozen") == 0);
}

TEST_CASE("a guard that failed to thaw does not keep the others' freeze") {
    FakeKernel kernel;
    kernel.patched = GENERATE(false, true);
    const Reports reports;
    FreezeGuard stays("/srv");
    {
        const FreezeGuard goes("/srv");
        kernel.failing_call = kernel.calls.size();
        kernel.failing_errno = EPERM;
        kernel.sticky = true;
    }
    CHECK(Reports::all().size() == 1);
    CHECK(kernel.is_frozen(ext4));
    kernel.failing_call.reset();
    stays.thaw();
    CHECK_FALSE(kernel.is_frozen(ext4));
}

TEST_CASE("guards work without a mount table, with shorter messages") {
    FakeKernel kernel;
    kernel.failing_errno = ENOENT;
    kernel.failing_call = 1;
    kernel.sticky = true;
    FreezeGuard guard("/srv/dir");
    REQUIRE(kernel.calls[1].name == "mounts");
    CHECK(guard.filesystem().mountpoint.empty());
    CHECK(kernel.is_frozen(ext4));
    guard.thaw();
}
