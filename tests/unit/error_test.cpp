// SPDX-License-Identifier: LGPL-2.1-or-later
#include "failure.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

using libfreeze::errc;

namespace {

struct Pair {
    errc condition;
    int error;
};

const std::vector<Pair> pairs{{errc::not_supported, EOPNOTSUPP},
                              {errc::already_frozen, EBUSY},
                              {errc::expired, EINVAL},
                              {errc::would_deadlock, EDEADLK},
                              {errc::acquire_timeout, ETIMEDOUT},
                              {errc::unsupported_by_kernel, ENOTTY}};

} // namespace

TEST_CASE("an error code equals the condition of its errno and no other") {
    for (const Pair& code : pairs) {
        for (const Pair& other : pairs) {
            const bool same = code.condition == other.condition;
            CHECK((std::error_code(code.error, std::system_category()) == other.condition) == same);
            CHECK((std::error_code(code.error, std::generic_category()) == other.condition) ==
                  same);
            CHECK((make_error_code(code.condition) == other.condition) == same);
        }
        CHECK(std::error_code() != code.condition);
        CHECK(std::error_code(EPERM, std::system_category()) != code.condition);
        CHECK(std::error_code(code.error, libfreeze::error_category()) !=
              make_error_condition(code.condition));
        CHECK(std::error_code(code.error, std::iostream_category()) != code.condition);
    }
}

TEST_CASE("each condition has its own message") {
    std::vector<std::string> seen;
    for (const Pair& pair : pairs) {
        const std::string text = make_error_code(pair.condition).message();
        CHECK(text != "Unknown error");
        CHECK(std::count(seen.begin(), seen.end(), text) == 0);
        seen.push_back(text);
    }
    CHECK(std::error_code(99, libfreeze::error_category()).message() == "Unknown error");
    CHECK(std::string(libfreeze::error_category().name()) == "libfreeze");
}

TEST_CASE("a message contains operation, path, type, mountpoint and remedy, and keeps the errno") {
    const libfreeze::Filesystem filesystem{"/srv/a", "/srv", "ext4", "/dev/sda1"};
    const auto error = failure(libfreeze::Operation::thaw, filesystem,
                               std::error_code(EIO, std::system_category()));
    CHECK(error.code() == std::error_code(EIO, std::system_category()));
    CHECK(std::string(error.what()) ==
          "cannot thaw '/srv/a' (ext4 on '/srv'): it is still frozen: try again, "
          "or run fsfreeze -u '/srv': Input/output error");
}

TEST_CASE("every error of every operation is explained on one line") {
    using libfreeze::Operation;
    const auto operation = GENERATE(Operation::freeze, Operation::adopt, Operation::extend,
                                    Operation::thaw, Operation::probe);
    const auto error = GENERATE(EPERM, EOPNOTSUPP, EFAULT, ENOMEM, EOVERFLOW, EBUSY, EINTR, EIO,
                                EINVAL, ENOTTY, ENOENT, EACCES);
    const libfreeze::Filesystem filesystem{"/a\nb'c\\d\x7f", "/a\nb", "xfs", "/dev/sda1"};
    const std::string text = failure(operation, filesystem, {error, std::system_category()}).what();
    CAPTURE(text);
    CHECK(text.find("'/a\\x0ab\\x27c\\x5cd\\x7f' (xfs on '/a\\x0ab')") != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
    CHECK(text.find(std::error_code(error, std::system_category()).message()) != std::string::npos);
    CHECK(text.rfind("cannot ", 0) == 0);
}

TEST_CASE("a failed freeze is never reported as expired") {
    const libfreeze::Filesystem filesystem{"/srv", "/srv", "ext4", "/dev/sda1"};
    const std::string text =
        failure(libfreeze::Operation::freeze, filesystem, {EINVAL, std::system_category()}).what();
    CHECK(text.find("stay frozen") == std::string::npos);
}
