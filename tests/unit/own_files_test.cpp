// SPDX-License-Identifier: LGPL-2.1-or-later
/// Programs that would block on their own freeze.
#include "fake_kernel.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <string>
#include <vector>

#include <unistd.h>

using libfreeze::errc;
using libfreeze::FreezeGuard;
using libfreeze::Options;
using testing::FakeKernel;

namespace {

constexpr dev_t ext4 = FakeKernel::ext4;
constexpr const char* writing = "pos:\t0\nflags:\t0100001\nmnt_id:\t30\n";
constexpr const char* reading = "pos:\t0\nflags:\t0100000\nmnt_id:\t30\n";
constexpr const char* appending = "pos:\t0\nflags:\t0102001\nmnt_id:\t30\n";

/// An open file as /proc shows it.
void open_file(FakeKernel& kernel, int fd, const std::string& path, const std::string& info) {
    kernel.open_as(fd, path);
    kernel.sysfs["/proc/self/fd/" + std::to_string(fd) + "/"] = "";
    kernel.sysfs["/proc/self/fdinfo/" + std::to_string(fd)] = info;
}

/// The message; empty if it is not refused.
std::string refusal(FakeKernel& kernel, const std::vector<std::filesystem::path>& paths,
                    const Options& options = {}) {
    try {
        FreezeGuard(paths, options).thaw();
    } catch (const std::system_error& error) {
        CHECK(error.code() == errc::would_deadlock);
        CHECK(kernel.count("FIFREEZE") == 0);
        return error.what();
    }
    return "";
}

bool says(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a program whose output is on the filesystem is refused, with the descriptor's name") {
    FakeKernel kernel;
    const auto [fd, name] = GENERATE(table<int, std::string>(
        {{1, "standard output"}, {2, "standard error"}, {7, "the log open as descriptor 7"}}));
    open_file(kernel, fd, "/srv/dir/file", fd == 7 ? appending : writing);
    open_file(kernel, 9, "/srv/dir/file", writing);
    const std::string text = refusal(kernel, {"/pool", "/bind"});
    CHECK(says(text, "cannot freeze '/bind' (ext4)"));
    CHECK(says(text, name));
    CHECK(says(text, "also open for writing there: 9."));
    Options options;
    options.allow_self_deadlock = true;
    CHECK(refusal(kernel, {"/bind"}, options).empty());
}

TEST_CASE("files that cannot block the program do not prevent the freeze") {
    FakeKernel kernel;
    open_file(kernel, 1, "/dev/null", writing);
    open_file(kernel, 2, "/srv/dir/fifo", writing);
    open_file(kernel, 7, "/srv/dir/file", reading);
    open_file(kernel, 8, "/srv/dir/file", writing);
    CHECK(refusal(kernel, {"/srv"}).empty());
}

TEST_CASE("without /proc only standard output and error are checked") {
    FakeKernel kernel;
    kernel.open_as(STDERR_FILENO, "/srv/dir/file");
    CHECK(says(refusal(kernel, {"/srv"}), "standard error"));
}

TEST_CASE("a swap file on the filesystem is refused, with its name") {
    FakeKernel kernel;
    kernel.files["/srv/swap file"] = {S_IFREG, ext4, ext4, 0, 30};
    kernel.sysfs["/proc/swaps"] = "Filename\tType\tSize\n/dev/sdb partition 1 0 -2\n"
                                  "/srv/swap\\040file file 1 0 -3\n";
    CHECK(says(refusal(kernel, {"/srv"}), "the swap file '/srv/swap file'"));
    CHECK(refusal(kernel, {"/pool"}).empty());
}

TEST_CASE("memory is locked before anything is frozen") {
    FakeKernel kernel;
    Options options;
    options.lock_memory = true;
    SECTION("it can be") {
        FreezeGuard("/srv", options).thaw();
        CHECK(kernel.count("mlockall") == 1);
    }
    SECTION("it cannot be") {
        kernel.failing_errno = EPERM;
        kernel.failing_request = [](const std::string& name, dev_t) { return name == "mlockall"; };
        std::error_code error;
        CHECK_FALSE(FreezeGuard("/srv", options, error));
        CHECK(error == std::errc::operation_not_permitted);
        CHECK(kernel.count("FIFREEZE") == 0);
    }
    SECTION("it need not be") {
        FreezeGuard("/srv").thaw();
        CHECK(kernel.count("mlockall") == 0);
    }
}
