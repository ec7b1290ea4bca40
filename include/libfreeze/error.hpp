// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/freeze.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace libfreeze {

/// What went wrong, as a condition to compare an error code with: `if (error.code() ==
/// errc::expired)`.
///
/// The error codes keep the kernel's errno (std::system_category), except that a freeze that did
/// not last has a code of error_category().
enum class errc {
    /// The filesystem cannot be frozen (proc, tmpfs, overlay, ...), or the path is a device node.
    /// Also std::errc::operation_not_supported.
    not_freezable = 1,
    /// A program that does not use libfreeze has frozen it, and this kernel allows only one freeze.
    /// Also std::errc::device_or_resource_busy.
    already_frozen,
    /// The freeze did not last. What was copied in the meantime may be inconsistent: discard it.
    expired,
    /// The program would block on its own freeze, or a thaw would wait for a lower filesystem that
    /// somebody still holds. Also std::errc::resource_deadlock_would_occur.
    would_deadlock,
    /// Options::acquire_timeout is over. Also std::errc::timed_out.
    acquire_timeout,
    /// Options::cancel_fd became readable. Also std::errc::operation_canceled.
    cancelled,
    /// The guardian would die together with the program (Options::allow_unprotected). Also
    /// std::errc::state_not_recoverable.
    unprotected,
    /// There is no kept hold to adopt, or no hold with that id. Also std::errc::no_such_process.
    no_such_hold,
};

/// The category of the codes that stand for an errc. Thread-safe.
[[nodiscard]] inline const std::error_category& error_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(errc condition) noexcept {
    return {static_cast<int>(condition), error_category()};
}

[[nodiscard]] inline std::error_condition make_error_condition(errc condition) noexcept {
    return {static_cast<int>(condition), error_category()};
}

namespace detail {

/// The errno of freeze.h.
inline int errno_of(errc condition) noexcept {
    switch (condition) {
    case errc::not_freezable:
        return EOPNOTSUPP;
    case errc::already_frozen:
        return EBUSY;
    case errc::expired:
        return ESTALE;
    case errc::would_deadlock:
        return EDEADLK;
    case errc::acquire_timeout:
        return ETIMEDOUT;
    case errc::cancelled:
        return ECANCELED;
    case errc::unprotected:
        return ENOTRECOVERABLE;
    case errc::no_such_hold:
        return ESRCH;
    }
    return 0;
}

class Category final : public std::error_category {
public:
    [[nodiscard]] const char* name() const noexcept override { return "libfreeze"; }

    [[nodiscard]] std::string message(int condition) const override {
        switch (static_cast<errc>(condition)) {
        case errc::not_freezable:
            return "Filesystem cannot be frozen";
        case errc::already_frozen:
            return "Filesystem is frozen already";
        case errc::expired:
            return "Freeze did not last";
        case errc::would_deadlock:
            return "Would block on a frozen filesystem";
        case errc::acquire_timeout:
            return "Not frozen in time";
        case errc::cancelled:
            return "Cancelled";
        case errc::unprotected:
            return "Nothing would thaw if this program were killed";
        case errc::no_such_hold:
            return "No such hold";
        }
        return "Unknown error";
    }

    [[nodiscard]] std::error_condition
    default_error_condition(int condition) const noexcept override {
        return {errno_of(static_cast<errc>(condition)), std::generic_category()};
    }

    /// Categories are compared by name: parts of a program that hide their symbols may each have
    /// one.
    [[nodiscard]] bool equivalent(const std::error_code& code,
                                  int condition) const noexcept override {
        if (std::strcmp(code.category().name(), name()) == 0) {
            return code.value() == condition;
        }
        const bool is_errno =
            code.category() == std::system_category() || code.category() == std::generic_category();
        return is_errno && condition != static_cast<int>(errc::expired) &&
               code.value() == errno_of(static_cast<errc>(condition));
    }
};

/// Of a result of freeze.h.
inline std::error_code code_of(int result) noexcept {
    return result == -ESTALE ? make_error_code(errc::expired)
                             : std::error_code(-result, std::system_category());
}

/// The message has the text of the errno already, so what() is made of it alone.
class Failure final : public std::system_error {
public:
    Failure(std::error_code code, std::string message)
        : std::system_error(code), message_(std::make_shared<std::string>(std::move(message))) {}
    [[nodiscard]] const char* what() const noexcept override { return message_->c_str(); }

private:
    std::shared_ptr<std::string> message_; // copying an exception must not throw
};

/// Throws what the last call of this thread reported.
inline int check(int result) {
    if (result == -EINVAL) {
        throw std::logic_error(libfreeze_error_message());
    }
    if (result < 0) {
        throw Failure(code_of(result), libfreeze_error_message());
    }
    return result;
}

/// For the overloads with an error code. Misuse is thrown from them as well.
inline int check(int result, std::error_code& error) {
    error.clear();
    if (result == -EINVAL) {
        throw std::logic_error(libfreeze_error_message());
    }
    if (result < 0) {
        error = code_of(result);
    }
    return result;
}

/// The overload with an error code of a function that throws. A result is empty then.
template <typename Function>
auto catching(std::error_code& error, const Function& function) -> decltype(function()) {
    error.clear();
    try {
        return function();
    } catch (const std::system_error& problem) {
        error = problem.code();
        return {};
    }
}

} // namespace detail

inline const std::error_category& error_category() noexcept {
    static const detail::Category category;
    return category;
}

} // namespace libfreeze

/// @cond
template <>
struct std::is_error_condition_enum<libfreeze::errc> : std::true_type {};
/// @endcond
