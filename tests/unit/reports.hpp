// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/failure_handler.hpp>

#include <string>
#include <system_error>
#include <vector>

namespace testing {

/// Collects the reports of destructors while it exists.
class Reports final {
public:
    Reports() : previous_(libfreeze::set_failure_handler(&collect)) { all().clear(); }
    ~Reports() { libfreeze::set_failure_handler(previous_); }
    Reports(const Reports&) = delete;
    Reports& operator=(const Reports&) = delete;
    Reports(Reports&&) = delete;
    Reports& operator=(Reports&&) = delete;

    static std::vector<std::system_error>& all() {
        static std::vector<std::system_error> reports;
        return reports;
    }

private:
    static void collect(const std::system_error& error,
                        const libfreeze::Filesystem& /*unused*/) noexcept {
        all().push_back(error);
    }

    libfreeze::FailureHandler previous_;
};

} // namespace testing
