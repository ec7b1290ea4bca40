// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_kernel.hpp"

#include <libfreeze/freeze.hpp>

#include <catch2/catch_test_macros.hpp>

using namespace std::chrono_literals;
using libfreeze::errc;
using libfreeze::FreezeGuard;
using testing::FakeKernel;

TEST_CASE("a guard freezes, and thaws when it is destroyed") {
    FakeKernel kernel;
    {
        const FreezeGuard guard("/srv/dir");
        CHECK(kernel.is_frozen(FakeKernel::ext4));
        CHECK(guard);
        CHECK(guard.filesystem().mountpoint == "/srv");
        CHECK(guard.filesystem().type == "ext4");
        CHECK(guard.filesystem().source == "/dev/sda1");
    }
    CHECK_FALSE(kernel.is_frozen(FakeKernel::ext4));
    CHECK(kernel.open_files.empty());
}
