// SPDX-License-Identifier: LGPL-2.1-or-later
#include <libfreeze/freeze.h>

#include "failure.hpp"

#include <libfreeze/freeze.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

using libfreeze::errc;
using std::chrono::milliseconds;

struct libfreeze_guard {
    libfreeze::FreezeGuard guard;
    std::vector<std::string> mountpoints;
    std::vector<std::string> skipped;
};

namespace {

std::string& last_message() {
    thread_local std::string message;
    return message;
}

/// Not to be thrown while another error is told of.
void remember(const char* message) noexcept {
    try {
        last_message() = message;
    } catch (...) {
        last_message().clear();
    }
}

/// EINVAL stands for misuse here.
int errno_of(const std::error_code& code) noexcept {
    if (code == errc::expired) {
        return ESTALE;
    }
    return code.category() == libfreeze::error_category()
               ? libfreeze::kernel_errno(static_cast<errc>(code.value()))
               : code.value();
}

/// What a C++ function came to: its own result, or a negative errno.
template <typename Function>
int result_of(Function&& function) noexcept {
    try {
        return function();
    } catch (const std::system_error& error) {
        remember(error.what());
        return -errno_of(error.code());
    } catch (const std::logic_error& error) {
        remember(error.what());
        return -EINVAL;
    } catch (const std::exception& error) {
        remember(error.what());
        return -ENOMEM;
    } catch (...) {
        remember("libfreeze: an unknown exception");
        return -EIO;
    }
}

[[noreturn]] void refuse(const char* function, const char* what) {
    throw std::invalid_argument(fmt::format("libfreeze: {}: {} is NULL", function, what));
}

template <typename Pointer>
Pointer required(Pointer pointer, const char* function, const char* what) {
    if (pointer == nullptr) {
        refuse(function, what);
    }
    return pointer;
}

std::vector<std::filesystem::path> paths_of(const char* const* paths, std::size_t count) {
    std::vector<std::filesystem::path> result;
    for (std::size_t number = 0; number < count; ++number) {
        const char* const path = required(paths, "libfreeze_freeze", "paths")[number];
        result.emplace_back(required(path, "libfreeze_freeze", "a path"));
    }
    return result;
}

/// What a later version has added to the options must be left at zero, which is nothing new.
void refuse_unknown(const libfreeze_options& given) {
    constexpr std::size_t known = sizeof(libfreeze_options);
    constexpr std::size_t most = 4096; // no size at all, but what happened to stand there
    const auto* const bytes = reinterpret_cast<const unsigned char*>(&given);
    if (given.size > most ||
        (given.size > known && std::any_of(bytes + known, bytes + given.size,
                                           [](unsigned char byte) { return byte != 0; }))) {
        throw std::system_error(E2BIG, std::system_category(),
                                "libfreeze: the options ask for what only a later version has");
    }
}

/// A program compiled with an older version gives less: the rest keeps its default.
libfreeze::Options options_of(const libfreeze_options* given) {
    libfreeze_options all = LIBFREEZE_OPTIONS_INIT;
    if (given != nullptr) {
        const bool is_initialised =
            given->size >= offsetof(libfreeze_options, timeout_ms) + sizeof(given->timeout_ms);
        if (is_initialised) {
            refuse_unknown(*given);
            std::memcpy(&all, given, std::min(given->size, sizeof(all)));
        }
        if (!is_initialised || all.guardian < LIBFREEZE_GUARDIAN_AUTOMATIC ||
            all.guardian > LIBFREEZE_GUARDIAN_NEVER) {
            throw std::invalid_argument(
                "libfreeze: options that do not begin with LIBFREEZE_OPTIONS_INIT");
        }
    }
    libfreeze::Options options;
    options.timeout = milliseconds(all.timeout_ms);
    options.acquire_timeout = milliseconds(all.acquire_timeout_ms);
    options.flush_budget = milliseconds(all.flush_budget_ms);
    options.guardian = static_cast<libfreeze::UseGuardian>(all.guardian);
    options.unfreezable =
        all.skip_unfreezable != 0 ? libfreeze::Unfreezable::skip : libfreeze::Unfreezable::fail;
    options.allow_self_deadlock = all.allow_self_deadlock != 0;
    options.lock_memory = all.lock_memory != 0;
    return options;
}

libfreeze_guard* wrap(libfreeze::FreezeGuard guard) {
    auto wrapped = std::make_unique<libfreeze_guard>();
    wrapped->guard = std::move(guard);
    for (const libfreeze::Filesystem& filesystem : wrapped->guard.filesystems()) {
        wrapped->mountpoints.push_back(filesystem.mountpoint.native());
    }
    for (const libfreeze::Filesystem& filesystem : wrapped->guard.skipped()) {
        wrapped->skipped.push_back(filesystem.path.native());
    }
    return wrapped.release();
}

std::atomic<libfreeze_failure_handler> c_handler{nullptr};

void tell_c(const std::system_error& error, const libfreeze::Filesystem& filesystem) noexcept {
    if (const libfreeze_failure_handler handler = c_handler.load()) {
        handler(-errno_of(error.code()), error.what(), filesystem.mountpoint.c_str());
    }
}

} // namespace

int libfreeze_freeze(const char* const* paths, size_t count, const libfreeze_options* options,
                     libfreeze_guard** guard) {
    return result_of([&] {
        *required(guard, "libfreeze_freeze", "the place for the guard") = nullptr;
        *guard = wrap(libfreeze::FreezeGuard(paths_of(paths, count), options_of(options)));
        return 0;
    });
}

int libfreeze_adopt(const char* path, const libfreeze_options* options, libfreeze_guard** guard) {
    return result_of([&] {
        *required(guard, "libfreeze_adopt", "the place for the guard") = nullptr;
        *guard = wrap(libfreeze::FreezeGuard::adopt(required(path, "libfreeze_adopt", "the path"),
                                                    options_of(options)));
        return 0;
    });
}

int libfreeze_extend(libfreeze_guard* guard, int64_t timeout_ms) {
    return result_of([&] {
        required(guard, "libfreeze_extend", "the guard")->guard.extend(milliseconds(timeout_ms));
        return 0;
    });
}

int libfreeze_thaw(libfreeze_guard* guard) {
    return result_of([&] {
        required(guard, "libfreeze_thaw", "the guard")->guard.thaw();
        return 0;
    });
}

void libfreeze_release(libfreeze_guard* guard) {
    if (guard != nullptr) {
        guard->guard.release();
    }
}

void libfreeze_free(libfreeze_guard* guard) {
    delete guard; // NOLINT(cppcoreguidelines-owning-memory): made by wrap
}

size_t libfreeze_count(const libfreeze_guard* guard) {
    return guard != nullptr && guard->guard ? guard->mountpoints.size() : 0;
}

const char* libfreeze_mountpoint(const libfreeze_guard* guard, size_t number) {
    return number < libfreeze_count(guard) ? guard->mountpoints[number].c_str() : nullptr;
}

size_t libfreeze_skipped_count(const libfreeze_guard* guard) {
    return guard != nullptr ? guard->skipped.size() : 0;
}

const char* libfreeze_skipped_path(const libfreeze_guard* guard, size_t number) {
    return number < libfreeze_skipped_count(guard) ? guard->skipped[number].c_str() : nullptr;
}

void libfreeze_get_stats(const libfreeze_guard* guard, libfreeze_stats* stats) {
    const libfreeze::Stats known = guard != nullptr ? guard->guard.stats() : libfreeze::Stats();
    if (stats != nullptr) {
        *stats = {known.flush_rounds, known.flushing.count(), known.freezing.count(),
                  known.frozen.count()};
    }
}

int libfreeze_probe_timeout(const char* path) {
    return result_of([&] {
        return libfreeze::probe(required(path, "libfreeze_probe_timeout", "the path")).timeout ? 1
                                                                                               : 0;
    });
}

const char* libfreeze_error_message(void) {
    return last_message().c_str();
}

void libfreeze_set_failure_handler(libfreeze_failure_handler handler) {
    c_handler.store(handler);
    libfreeze::set_failure_handler(handler == nullptr ? nullptr : &tell_c);
}
