// SPDX-License-Identifier: LGPL-2.1-or-later
#include <libfreeze/error.hpp>

#include "failure.hpp"
#include "immortal.hpp"

#include <cerrno>
#include <string>

namespace libfreeze {

int kernel_errno(errc condition) noexcept {
    switch (condition) {
    case errc::not_supported:
        return EOPNOTSUPP;
    case errc::already_frozen:
        return EBUSY;
    case errc::expired:
        return EINVAL;
    case errc::would_deadlock:
        return EDEADLK;
    case errc::acquire_timeout:
        return ETIMEDOUT;
    case errc::unsupported_by_kernel:
        return ENOTTY;
    }
    return 0;
}

namespace {

class Category final : public std::error_category {
public:
    [[nodiscard]] const char* name() const noexcept override { return "libfreeze"; }

    [[nodiscard]] std::string message(int condition) const override {
        switch (static_cast<errc>(condition)) {
        case errc::not_supported:
            return "Filesystem cannot be frozen";
        case errc::already_frozen:
            return "Filesystem is frozen already";
        case errc::expired:
            return "Freeze did not last";
        case errc::would_deadlock:
            return "Freezing would block this program itself";
        case errc::acquire_timeout:
            return "Freeze not complete in time";
        case errc::unsupported_by_kernel:
            return "Not supported by this kernel";
        }
        return "Unknown error";
    }

    [[nodiscard]] bool equivalent(const std::error_code& code,
                                  int condition) const noexcept override {
        if (code.category() == *this) {
            return code.value() == condition;
        }
        const bool is_errno =
            code.category() == std::system_category() || code.category() == std::generic_category();
        return is_errno && code.value() != 0 &&
               code.value() == kernel_errno(static_cast<errc>(condition));
    }
};

} // namespace

const std::error_category& error_category() noexcept {
    return immortal<const Category>();
}

} // namespace libfreeze
