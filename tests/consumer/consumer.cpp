// SPDX-License-Identifier: LGPL-2.1-or-later
/// A program outside the tree: only the installed headers and library. Its exit status is the
/// number of surprises.
#include <libfreeze/freeze.hpp>

#include <cstdio>
#include <utility>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;

static int surprises = 0;

static void expect(bool condition, const char* what) {
    if (!condition) {
        std::printf("surprise: %s\n", what);
        ++surprises;
    }
}

static void report(const std::system_error& error,
                   const libfreeze::Filesystem& filesystem) noexcept {
    std::printf("%s: %s\n", filesystem.path.c_str(), error.what());
}

int main() {
    libfreeze::set_failure_handler(report);
    std::error_code error;
#if __cplusplus >= 202002L
    FreezeGuard guard("/proc", {.timeout = 30s}, error);
#else
    FreezeGuard guard("/proc", {30s}, error);
#endif
    expect(!guard, "a guard of /proc");
    expect(error == errc::not_supported || error == errc::unsupported_by_kernel ||
               error == std::errc::operation_not_permitted,
           error.message().c_str());
    guard = FreezeGuard("/none", error);
    expect(error == std::errc::no_such_file_or_directory, error.message().c_str());
    try {
        guard = FreezeGuard::adopt("/none");
        expect(false, "adopted /none");
    } catch (const std::system_error& caught) {
        expect(caught.code() == std::errc::no_such_file_or_directory, caught.what());
    }
    try {
        guard.thaw();
        expect(false, "thawed nothing");
    } catch (const std::logic_error&) {
    }
    const libfreeze::Features features = libfreeze::probe("/", error);
    expect(!error || !features.timeout, "an error and a feature");
    FreezeGuard moved = std::move(guard);
    moved.release();
    return surprises;
}
