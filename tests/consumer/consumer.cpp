// SPDX-License-Identifier: LGPL-2.1-or-later
/// A program outside the tree: uses only the installed headers and library. Its exit status is the
/// number of failed expectations.
#include <libfreeze/freeze.hpp>

#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;

static int failures = 0;

static void expect(bool condition, const std::string& what) {
    if (!condition) {
        std::printf("unexpected: %s\n", what.c_str());
        ++failures;
    }
}

static libfreeze::Options options() {
#if __cplusplus >= 202002L
    return {.timeout = 30s, .comment = "consumer"};
#else
    libfreeze::Options result{30s};
    result.comment = "consumer";
    return result;
#endif
}

static void check_errors() {
    std::error_code error;
    FreezeGuard guard("/proc", options(), error);
    expect(!guard, "a guard of /proc");
    expect(error == errc::not_freezable || error == std::errc::operation_not_permitted,
           "/proc: " + error.message());
    guard = FreezeGuard("/none", error);
    expect(error == std::errc::no_such_file_or_directory, "/none: " + error.message());
    guard = FreezeGuard({"/none", "/proc"}, error);
    expect(error == std::errc::no_such_file_or_directory, "both: " + error.message());
    guard = FreezeGuard(libfreeze::Fd(-1), {}, error);
    expect(error == std::errc::bad_file_descriptor, "no descriptor: " + error.message());
    try {
        guard = FreezeGuard::adopt("/none");
        expect(false, "adopted /none");
    } catch (const std::system_error& caught) {
        expect(caught.code() == std::errc::no_such_file_or_directory, caught.what());
        expect(std::strstr(caught.what(), "'/none'") != nullptr, caught.what());
    }
    libfreeze::thaw(libfreeze::HoldId("0123456789abcdef"), error);
    expect(error == errc::no_such_hold, "no such id: " + error.message());
}

static void check_empty_guard() {
    FreezeGuard empty;
    const FreezeGuard moved = std::move(empty);
    expect(!moved && moved.filesystems().empty() && moved.skipped().empty(), "an empty guard");
    expect(moved.descriptor() < 0 && moved.id().text.empty(), "an empty guard's descriptor or id");
    try {
        FreezeGuard().thaw();
        expect(false, "thawed nothing");
    } catch (const std::logic_error&) {
    }
}

static void check_conditions() {
    expect(libfreeze::make_error_code(errc::expired) == errc::expired, "expired");
    expect(std::error_code(EINVAL, std::system_category()) != errc::expired, "EINVAL is expired");
    expect(std::error_code(ESTALE, std::system_category()) != errc::expired, "ESTALE is expired");
    expect(std::error_code(EBUSY, std::system_category()) == errc::already_frozen, "EBUSY");
    expect(std::error_code() != errc::not_freezable, "no error");
}

static void check_reports() {
    expect(std::strcmp(libfreeze::version(), "0.") > 0, libfreeze::version());
    const auto statuses = libfreeze::inspect({"/proc"}, 10s);
    expect(statuses.size() == 1 && statuses.front().filesystem.type == "proc", "inspect");
}

int main() {
    check_errors();
    check_empty_guard();
    check_conditions();
    check_reports();
    return failures;
}
