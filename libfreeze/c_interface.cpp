// SPDX-License-Identifier: LGPL-2.1-or-later
#include "c_result.hpp"
#include "ended_holds.hpp"
#include "guard.hpp"
#include "plan.hpp"

#include <libfreeze/freeze.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>

using libfreeze::internal::Error;
using libfreeze::internal::fill;
using libfreeze::internal::FreezeSet;
using libfreeze::internal::Limits;
using libfreeze::internal::required;
using libfreeze::internal::result_of;
using std::chrono::milliseconds;

namespace {

/// The defaults. A program that was compiled with an older version gives less, and the rest keeps
/// its default.
libfreeze_options default_options() {
    libfreeze_options options{};
    options.size = sizeof(options);
    options.flush_budget_ms = 10'000;
    options.cancel_fd = -1;
    return options;
}

/// What a later version has added must be zero.
void check_unknown(const libfreeze_options& given) {
    constexpr std::size_t known = sizeof(libfreeze_options);
    constexpr std::size_t longest = 4096; // a longer one was not initialised
    const auto* const bytes = reinterpret_cast<const unsigned char*>(&given);
    if (given.size > longest ||
        (given.size > known && std::any_of(bytes + known, bytes + given.size,
                                           [](unsigned char byte) { return byte != 0; }))) {
        throw Error(E2BIG, "libfreeze: the options use what only a later version of the library "
                           "has: update libfreeze");
    }
}

void check_timeout(std::int64_t timeout, const char* name) {
    if (timeout < 0 || timeout > LIBFREEZE_MAX_TIMEOUT_MS) {
        throw Error(ERANGE, std::string("libfreeze: ") + name + " of " + std::to_string(timeout) +
                                " ms is not possible: it is from 0 to " +
                                std::to_string(LIBFREEZE_MAX_TIMEOUT_MS) + " ms");
    }
}

libfreeze_options checked(const libfreeze_options* given) {
    libfreeze_options options = default_options();
    if (given == nullptr) {
        return options;
    }
    if (given->size < offsetof(libfreeze_options, acquire_timeout_ms)) {
        libfreeze::internal::refuse("libfreeze_options",
                                    "not initialised: call libfreeze_options_init()");
    }
    check_unknown(*given);
    std::memcpy(&options, given, std::min(given->size, sizeof(options)));
    check_timeout(options.timeout_ms, "timeout_ms");
    check_timeout(options.acquire_timeout_ms, "acquire_timeout_ms");
    check_timeout(options.flush_budget_ms, "flush_budget_ms");
    if (options.comment != nullptr &&
        std::strlen(options.comment) >= sizeof(guardian_message::comment)) {
        libfreeze::internal::refuse("libfreeze_options", "the comment is longer than 31 bytes");
    }
    if (options.reserved != 0) {
        libfreeze::internal::refuse("libfreeze_options", "reserved is not 0");
    }
    return options;
}

Limits limits_of(std::int64_t timeout_ms, int cancel_fd = -1) {
    Limits limits;
    limits.cancel_fd = cancel_fd;
    limits.abandoned = std::make_shared<std::atomic<bool>>(false);
    if (timeout_ms != 0) {
        limits.until = libfreeze::internal::syscalls().now() + milliseconds(timeout_ms);
    }
    return limits;
}

libfreeze::internal::FreezeRequest request_of(const libfreeze_options& options) {
    libfreeze::internal::FreezeRequest request;
    request.hold.timeout = milliseconds(options.timeout_ms);
    request.hold.comment = options.comment == nullptr ? "" : options.comment;
    request.hold.allow_unprotected = options.allow_unprotected != 0;
    request.hold.limits = limits_of(options.acquire_timeout_ms, options.cancel_fd);
    request.flush_budget = milliseconds(options.flush_budget_ms);
    request.skip_unfreezable = options.skip_unfreezable != 0;
    request.allow_self_deadlock = options.allow_self_deadlock != 0;
    if (libfreeze::internal::syscalls().random(&request.hold.id) != 0) {
        throw Error(errno, "libfreeze: no random number for the id of the hold");
    }
    return request;
}

/// Adds the time that has passed.
libfreeze::internal::ProgressFunction progress_of(const libfreeze_options& options) {
    if (options.progress == nullptr) {
        return nullptr;
    }
    const auto began = libfreeze::internal::syscalls().now();
    return [=](const libfreeze_progress& progress) {
        libfreeze_progress now = progress;
        now.elapsed_ms =
            std::chrono::duration_cast<milliseconds>(libfreeze::internal::syscalls().now() - began)
                .count();
        options.progress(&now, options.progress_data);
    };
}

libfreeze::internal::MemoryLock memory_lock(const libfreeze_options& options) {
    return options.lock_memory != 0 ? libfreeze::internal::MemoryLock::lock()
                                    : libfreeze::internal::MemoryLock();
}

std::unique_ptr<libfreeze_guard> make_guard(FreezeSet set, std::uint64_t id,
                                            libfreeze::internal::MemoryLock memory,
                                            const libfreeze_options& options) {
    return std::make_unique<libfreeze_guard>(std::move(set), id, std::move(memory),
                                             options.failure_handler, options.failure_data);
}

std::string first_path(const std::vector<libfreeze::internal::Name>& names) {
    const auto* const path = std::get_if<std::string>(&names.front());
    return path == nullptr ? "an open file" : *path;
}

int freeze(const std::vector<libfreeze::internal::Name>& names, const libfreeze_options* given,
           libfreeze_guard** guard) {
    if (names.empty()) {
        libfreeze::internal::refuse("libfreeze_freeze", "no path");
    }
    const libfreeze_options options = checked(given);
    const libfreeze::internal::FreezeRequest request = request_of(options);
    libfreeze::internal::MemoryLock memory = memory_lock(options);
    const auto set = std::make_shared<FreezeSet>();
    libfreeze::internal::run_bounded(request.hold.limits, libfreeze::internal::Operation::freeze,
                                     first_path(names), progress_of(options),
                                     [=](const libfreeze::internal::ProgressFunction& progress) {
                                         libfreeze_progress now{};
                                         progress(now);
                                         *set = FreezeSet::gather(names, request);
                                         set->freeze(request, progress);
                                     });
    *guard = make_guard(std::move(*set), request.hold.id, std::move(memory), options).release();
    return 0;
}

/// The options that have nothing to act on must have their defaults.
void check_adoption(const libfreeze_options& options) {
    if (options.flush_budget_ms != default_options().flush_budget_ms ||
        options.skip_unfreezable != 0 || options.progress != nullptr) {
        libfreeze::internal::refuse(
            "libfreeze_adopt", "flush_budget_ms, skip_unfreezable and progress have no meaning");
    }
}

template <typename Adopt>
int adopt(const Adopt& adopt_set, const std::string& name, std::uint64_t id,
          const libfreeze_options* given, libfreeze_guard** guard) {
    const libfreeze_options options = checked(given);
    check_adoption(options);
    const auto request = std::make_shared<libfreeze::internal::FreezeRequest>(request_of(options));
    request->hold.id = id;
    libfreeze::internal::MemoryLock memory = memory_lock(options);
    const auto set = std::make_shared<FreezeSet>();
    libfreeze::internal::run_bounded(
        request->hold.limits, libfreeze::internal::Operation::adopt, name, nullptr,
        [=](const libfreeze::internal::ProgressFunction&) { *set = adopt_set(request.get()); });
    *guard = make_guard(std::move(*set), request->hold.id, std::move(memory), options).release();
    return 0;
}

std::uint64_t checked_id(const char* id, const char* function) {
    const std::uint64_t number = libfreeze::internal::parse_id(required(id, function, "the id"));
    if (number == 0) {
        libfreeze::internal::refuse(function, "an id has 16 hexadecimal digits: " +
                                                  libfreeze::internal::quoted(id));
    }
    return number;
}

/// Throws if a kept hold with that id has ended, of whatever filesystem.
void check_no_end(std::uint64_t id) {
    const std::string why = libfreeze::internal::take_ended_hold(id);
    if (!why.empty()) {
        throw Error(ESTALE, "libfreeze: the freeze " + libfreeze::internal::format_id(id) +
                                " did not last: " + why +
                                ": discard what was copied in the meantime");
    }
}

[[noreturn]] void throw_no_such_hold(std::uint64_t id) {
    const std::string text = libfreeze::internal::format_id(id);
    check_no_end(id);
    throw Error(ESRCH,
                "libfreeze: there is no hold " + text + ": it has ended, or it never existed");
}

} // namespace

const char* libfreeze_version(void) {
    return LIBFREEZE_VERSION;
}

const char* libfreeze_error_message(void) {
    return libfreeze::internal::last_failure();
}

void libfreeze_options_init(libfreeze_options* options, size_t size) {
    if (options != nullptr) {
        fill(options, size, default_options());
        options->size = size;
    }
}

int libfreeze_freeze(const char* const* paths, size_t count, const libfreeze_options* options,
                     libfreeze_guard** guard) {
    return result_of([&] {
        *required(guard, "libfreeze_freeze", "guard") = nullptr;
        std::vector<libfreeze::internal::Name> names;
        for (size_t number = 0; number < count; ++number) {
            const char* const path = required(paths, "libfreeze_freeze", "paths")[number];
            names.emplace_back(std::string(required(path, "libfreeze_freeze", "a path")));
        }
        return freeze(names, options, guard);
    });
}

int libfreeze_freeze_fds(const int* fds, size_t count, const libfreeze_options* options,
                         libfreeze_guard** guard) {
    return result_of([&] {
        *required(guard, "libfreeze_freeze_fds", "guard") = nullptr;
        const std::vector<int> all(required(fds, "libfreeze_freeze_fds", "fds"), fds + count);
        return freeze({all.begin(), all.end()}, options, guard);
    });
}

int libfreeze_adopt(const char* path, const libfreeze_options* options, libfreeze_guard** guard) {
    return result_of([&] {
        *required(guard, "libfreeze_adopt", "guard") = nullptr;
        const std::string name = required(path, "libfreeze_adopt", "path");
        return adopt(
            [name](libfreeze::internal::FreezeRequest* request) {
                return FreezeSet::adopt(name, request);
            },
            name, 0, options, guard);
    });
}

int libfreeze_adopt_id(const char* id, const libfreeze_options* options, libfreeze_guard** guard) {
    return result_of([&] {
        *required(guard, "libfreeze_adopt_id", "guard") = nullptr;
        const std::uint64_t number = checked_id(id, "libfreeze_adopt_id");
        return adopt(
            [number](libfreeze::internal::FreezeRequest* request) {
                check_no_end(number);
                FreezeSet set = FreezeSet::adopt(request);
                if (set.entries().empty()) {
                    throw_no_such_hold(number);
                }
                return set;
            },
            id, number, options, guard);
    });
}

int libfreeze_guard_extend(libfreeze_guard* guard, int64_t timeout_ms) {
    return result_of([&] {
        check_timeout(timeout_ms, "timeout_ms");
        required(guard, "libfreeze_guard_extend", "guard")->extend(milliseconds(timeout_ms));
        return 0;
    });
}

int libfreeze_guard_thaw(libfreeze_guard* guard) {
    return result_of([&] {
        required(guard, "libfreeze_guard_thaw", "guard")->thaw();
        return 0;
    });
}

int libfreeze_guard_keep(libfreeze_guard* guard) {
    return result_of([&] {
        required(guard, "libfreeze_guard_keep", "guard")->keep();
        return 0;
    });
}

void libfreeze_guard_free(libfreeze_guard* guard) {
    delete guard; // NOLINT(cppcoreguidelines-owning-memory): made by make_guard
}

int libfreeze_guard_descriptor(const libfreeze_guard* guard) {
    return guard == nullptr ? -EINVAL : guard->descriptor();
}

const char* libfreeze_guard_id(const libfreeze_guard* guard) {
    return guard == nullptr ? "" : guard->id().c_str();
}

size_t libfreeze_guard_count(const libfreeze_guard* guard) {
    return guard == nullptr ? 0 : guard->filesystems().size();
}

const libfreeze_filesystem* libfreeze_guard_filesystem(const libfreeze_guard* guard,
                                                       size_t number) {
    return number < libfreeze_guard_count(guard) ? &guard->filesystems()[number] : nullptr;
}

size_t libfreeze_guard_skipped_count(const libfreeze_guard* guard) {
    return guard == nullptr ? 0 : guard->skipped().size();
}

const libfreeze_filesystem* libfreeze_guard_skipped(const libfreeze_guard* guard, size_t number) {
    return number < libfreeze_guard_skipped_count(guard) ? &guard->skipped()[number] : nullptr;
}

void libfreeze_guard_stats(const libfreeze_guard* guard, libfreeze_stats* stats, size_t size) {
    if (stats != nullptr) {
        fill(stats, size, guard == nullptr ? libfreeze_stats{} : guard->stats());
    }
}

int libfreeze_thaw_id(const char* id) {
    return result_of([&] {
        const std::uint64_t number = checked_id(id, "libfreeze_thaw_id");
        FreezeSet set = FreezeSet::refer_to(number);
        if (set.entries().empty()) {
            throw_no_such_hold(number);
        }
        set.thaw();
        check_no_end(number);
        return 0;
    });
}

int libfreeze_extend_id(const char* id, int64_t timeout_ms) {
    return result_of([&] {
        const std::uint64_t number = checked_id(id, "libfreeze_extend_id");
        check_timeout(timeout_ms, "timeout_ms");
        FreezeSet set = FreezeSet::refer_to(number);
        if (set.entries().empty()) {
            throw_no_such_hold(number);
        }
        set.extend(milliseconds(timeout_ms));
        check_no_end(number);
        return 0;
    });
}

int libfreeze_plan(const char* const* paths, size_t count, const libfreeze_options* options,
                   libfreeze_report** report) {
    return result_of([&] {
        *required(report, "libfreeze_plan", "report") = nullptr;
        const libfreeze_options known = checked(options);
        std::vector<libfreeze::internal::Name> names;
        for (size_t number = 0; number < count; ++number) {
            const char* const path = required(paths, "libfreeze_plan", "paths")[number];
            names.emplace_back(std::string(required(path, "libfreeze_plan", "a path")));
        }
        const auto result = std::make_shared<std::unique_ptr<libfreeze_report>>();
        const libfreeze::internal::FreezeRequest request = request_of(known);
        libfreeze::internal::run_bounded(request.hold.limits,
                                         libfreeze::internal::Operation::freeze,
                                         names.empty() ? "" : first_path(names), nullptr,
                                         [=](const libfreeze::internal::ProgressFunction&) {
                                             *result = libfreeze::internal::plan(names, request);
                                         });
        *report = result->release();
        return 0;
    });
}
