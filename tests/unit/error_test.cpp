// SPDX-License-Identifier: LGPL-2.1-or-later
#include "error.hpp"

#include <libfreeze/error.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <cerrno>
#include <set>
#include <string>

using libfreeze::errc;
using libfreeze::internal::Operation;

namespace {

const std::vector<std::pair<errc, int>> numbers{
    {errc::not_freezable, EOPNOTSUPP}, {errc::already_frozen, EBUSY},
    {errc::would_deadlock, EDEADLK},   {errc::acquire_timeout, ETIMEDOUT},
    {errc::cancelled, ECANCELED},      {errc::unprotected, ENOTRECOVERABLE},
    {errc::no_such_hold, ESRCH}};

} // namespace

TEST_CASE("a condition equals its errno in every category, and no other") {
    for (const auto& [condition, number] : numbers) {
        for (const auto& [other, other_number] : numbers) {
            const bool same = condition == other;
            CHECK((std::error_code(number, std::system_category()) == other) == same);
            CHECK((std::error_code(number, std::generic_category()) == other) == same);
            CHECK((make_error_code(condition) == other) == same);
        }
        CHECK(make_error_code(condition) == std::errc(number));
    }
}

TEST_CASE("only the library's own code means that a freeze did not last") {
    CHECK(libfreeze::detail::code_of(-ESTALE) == errc::expired);
    for (const int number : {EINVAL, ESTALE, EIO, ENOTTY}) {
        CHECK(std::error_code(number, std::system_category()) != errc::expired);
        CHECK(std::error_code(number, std::generic_category()) != errc::expired);
    }
    CHECK(make_error_code(errc::expired) != std::errc::invalid_argument);
}

TEST_CASE("each condition has its own message") {
    std::set<std::string> messages;
    for (int number = 0; number <= static_cast<int>(errc::no_such_hold) + 1; ++number) {
        messages.insert(libfreeze::error_category().message(number));
    }
    CHECK(messages.size() == static_cast<std::size_t>(errc::no_such_hold) + 1);
}

TEST_CASE("a message names operation, path, type, mountpoint and remedy") {
    const libfreeze::internal::Error error =
        failure(Operation::freeze, {"/srv/dir", "/srv", "ext4", "/dev/sda1", 0x801}, EBUSY);
    CHECK(error.number() == EBUSY);
    CHECK(
        std::string(error.what()) ==
        "cannot freeze '/srv/dir' (ext4 on '/srv'): another program has frozen it without "
        "libfreeze, or it is being resized: try again when that is over: Device or resource busy");
}

TEST_CASE("every error of every operation is explained on one line") {
    const auto operation =
        GENERATE(Operation::freeze, Operation::adopt, Operation::extend, Operation::thaw,
                 Operation::keep, Operation::inspect, Operation::probe);
    for (int number = 1; number < 135; ++number) {
        const std::string text = failure(operation, {"/a\n'b"}, number).what();
        CHECK(text.find('\n') == std::string::npos);
        CHECK(text.find("'/a\\x0a\\x27b'") != std::string::npos);
    }
}

TEST_CASE("ESTALE of a network filesystem does not mean that a freeze has ended") {
    CHECK(failure(Operation::freeze, {"/nfs"}, ESTALE).number() == EIO);
    CHECK(failure(Operation::inspect, {"/nfs"}, ESTALE).number() == EIO);
    CHECK(failure(Operation::thaw, {"/srv"}, ESTALE).number() == ESTALE);
}
