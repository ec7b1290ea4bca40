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

using libfreeze::errc;
using std::chrono::milliseconds;

struct libfreeze_guard {
    libfreeze::FreezeGuard guard;
    std::vector<std::string> mountpoints;
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
    }
}

/// A program compiled with an older version gives less: the rest keeps its default.
libfreeze::Options options_of(const libfreeze_options* given) {
    libfreeze_options all = LIBFREEZE_OPTIONS_INIT;
    if (given != nullptr) {
        if (given->size < offsetof(libfreeze_options, timeout_ms) + sizeof(given->timeout_ms) ||
            given->guardian < LIBFREEZE_GUARDIAN_AUTOMATIC ||
            given->guardian > LIBFREEZE_GUARDIAN_NEVER) {
            throw std::invalid_argument(
                "libfreeze: options that do not begin with LIBFREEZE_OPTIONS_INIT");
        }
        std::memcpy(&all, given, std::min(given->size, sizeof(all)));
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
    *guard = nullptr;
    return result_of([&] {
        const std::vector<std::filesystem::path> all(paths, paths + count);
        *guard = wrap(libfreeze::FreezeGuard(all, options_of(options)));
        return 0;
    });
}

int libfreeze_adopt(const char* path, const libfreeze_options* options, libfreeze_guard** guard) {
    *guard = nullptr;
    return result_of([&] {
        *guard = wrap(libfreeze::FreezeGuard::adopt(path, options_of(options)));
        return 0;
    });
}

int libfreeze_extend(libfreeze_guard* guard, int64_t timeout_ms) {
    return result_of([&] {
        guard->guard.extend(milliseconds(timeout_ms));
        return 0;
    });
}

int libfreeze_thaw(libfreeze_guard* guard) {
    return result_of([&] {
        guard->guard.thaw();
        return 0;
    });
}

void libfreeze_release(libfreeze_guard* guard) {
    guard->guard.release();
}

void libfreeze_free(libfreeze_guard* guard) {
    delete guard; // NOLINT(cppcoreguidelines-owning-memory): made by wrap
}

size_t libfreeze_count(const libfreeze_guard* guard) {
    return guard->guard ? guard->mountpoints.size() : 0;
}

const char* libfreeze_mountpoint(const libfreeze_guard* guard, size_t number) {
    return number < libfreeze_count(guard) ? guard->mountpoints[number].c_str() : nullptr;
}

void libfreeze_get_stats(const libfreeze_guard* guard, libfreeze_stats* stats) {
    const libfreeze::Stats known = guard->guard.stats();
    *stats = {known.flush_rounds, known.flushing.count(), known.freezing.count(),
              known.frozen.count()};
}

int libfreeze_probe_timeout(const char* path) {
    return result_of([&] { return libfreeze::probe(path).timeout ? 1 : 0; });
}

const char* libfreeze_error_message(void) {
    return last_message().c_str();
}

void libfreeze_set_failure_handler(libfreeze_failure_handler handler) {
    c_handler.store(handler);
    libfreeze::set_failure_handler(handler == nullptr ? nullptr : &tell_c);
}
