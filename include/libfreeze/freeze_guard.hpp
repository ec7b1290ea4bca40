// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/error.hpp>
#include <libfreeze/filesystem.hpp>
#include <libfreeze/freeze.h>
#include <libfreeze/options.hpp>
#include <libfreeze/stats.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace libfreeze {

/// The paths of the filesystems to freeze. Converts from one path or from several.
class Paths final {
public:
    /// One path, or anything that converts to one.
    template <typename Path,
              typename = std::enable_if_t<std::is_convertible_v<Path, std::filesystem::path> &&
                                          !std::is_same_v<std::decay_t<Path>, Paths>>>
    Paths(Path&& path) // NOLINT(google-explicit-constructor,hicpp-explicit-conversions)
        : paths_{std::filesystem::path(std::forward<Path>(path))} {}
    /// Several paths.
    Paths(std::vector<std::filesystem::path> paths) // NOLINT(google-explicit-constructor)
        : paths_(std::move(paths)) {}
    /// Several paths, as in `FreezeGuard guard({"/srv", "/home"})`.
    Paths(std::initializer_list<std::filesystem::path> paths) : paths_(paths) {}

    /// The paths, in the order in which they were given.
    [[nodiscard]] const std::vector<std::filesystem::path>& all() const noexcept { return paths_; }

private:
    std::vector<std::filesystem::path> paths_;
};

/// An open file on the filesystem to freeze. It may be O_PATH, and may be closed afterwards.
struct Fd {
    /// The descriptor stays the caller's.
    explicit Fd(int descriptor) noexcept : fd(descriptor) {}
    int fd; ///< the descriptor
};

/// The id of a hold: 16 hexadecimal digits.
struct HoldId {
    /// An id as FreezeGuard::id() returns it.
    explicit HoldId(std::string digits) : text(std::move(digits)) {}
    std::string text; ///< the digits
};

namespace detail {

/// Options as freeze.h has them. Points into the Options that it was made from.
class COptions final {
public:
    explicit COptions(const Options& from, const FailureHandler* handler) {
        libfreeze_options_init(&options_, sizeof(options_));
        options_.timeout_ms = from.timeout.count();
        options_.acquire_timeout_ms = from.acquire_timeout.count();
        options_.flush_budget_ms = from.flush_budget.count();
        options_.comment = from.comment.c_str();
        options_.cancel_fd = from.cancel_fd;
        options_.skip_unfreezable = from.unfreezable == Unfreezable::skip ? 1 : 0;
        options_.allow_self_deadlock = from.allow_self_deadlock ? 1 : 0;
        options_.allow_unprotected = from.allow_unprotected ? 1 : 0;
        options_.lock_memory = from.lock_memory ? 1 : 0;
        if (from.progress) {
            options_.progress = &on_progress;
            options_.progress_data = const_cast<std::function<void(const Progress&)>*>(
                &from.progress); // NOLINT(cppcoreguidelines-pro-type-const-cast)
        }
        if (handler != nullptr) {
            options_.failure_handler = &on_failure;
            options_.failure_data = const_cast<FailureHandler*>(
                handler); // NOLINT(cppcoreguidelines-pro-type-const-cast)
        }
    }
    [[nodiscard]] const libfreeze_options* get() const noexcept { return &options_; }

private:
    static void on_progress(const libfreeze_progress* now, void* data) noexcept {
        Progress progress;
        progress.phase = static_cast<Progress::Phase>(now->phase);
        progress.flush_rounds = now->flush_rounds;
        progress.elapsed = std::chrono::milliseconds(now->elapsed_ms);
        progress.filesystems = now->filesystems;
        progress.frozen = now->frozen;
        (*static_cast<const std::function<void(const Progress&)>*>(data))(progress);
    }
    static void on_failure(int error, const char* message, const char* mountpoint,
                           void* data) noexcept {
        (*static_cast<const FailureHandler*>(data))(Failure(code_of(error), message), mountpoint);
    }

    libfreeze_options options_{};
};

struct GuardDeleter {
    void operator()(libfreeze_guard* guard) const noexcept { libfreeze_guard_free(guard); }
};

} // namespace detail

/// Keeps one or several filesystems frozen, until it is thawed or destroyed.
///
/// If thaw() returns, every filesystem was frozen without a break from the constructor's return to
/// the call of thaw(). Otherwise it throws errc::expired, and what was copied in the meantime must
/// be discarded. libfreeze(7) has the concepts, and the one exception on kernels without the
/// patches.
///
/// Guards on the same filesystem, in one process or in several, are independent of each other and
/// may end in any order. The filesystem thaws with the last.
///
/// Threads: one guard may be used by one thread at a time. Forks: in a forked child a guard does
/// nothing; its functions throw std::logic_error. Privilege: CAP_SYS_ADMIN in the user namespace
/// that mounted the filesystem, for the constructors and adopt().
///
/// Every throwing function has an overload that sets an std::error_code instead. Misuse by the
/// caller (an empty guard, a guard in a forked child) throws std::logic_error from both.
class [[nodiscard]] FreezeGuard final {
public:
    /// An empty guard: holds nothing, false as a condition.
    FreezeGuard() noexcept = default;

    /// Freezes the filesystems that `paths` are on: all, or none. Any path on a filesystem is
    /// accepted. Symbolic links are followed. Paths on the same filesystem count once. A block
    /// device is refused, and the message has its mountpoint.
    ///
    /// Filesystems that are stacked on others (loop devices, device-mapper, LVM, md, partitions,
    /// external journals) are frozen before those. Independent ones are frozen in parallel.
    ///
    /// Blocks until dirty data is on disk and writers have finished; most data is written before
    /// writers are blocked. Never returns if a writer never finishes, unless
    /// Options::acquire_timeout is set. Until the thaw, the program must not write to the
    /// filesystems.
    ///
    /// @throws std::system_error, and nothing is frozen then:
    ///  - errc::not_freezable, errc::already_frozen, errc::would_deadlock, errc::acquire_timeout,
    ///    errc::cancelled, errc::unprotected
    ///  - EPERM: no privilege; ERANGE: a timeout that is negative or above max_timeout; ENOENT and
    ///    others: a path cannot be opened; EIO, ENOSPC and others: dirty data cannot be written
    explicit FreezeGuard(const Paths& paths, const Options& options = {}) {
        detail::check(freeze(paths, options));
    }
    /// @overload
    /// The same, so that a list of one path is not taken for another guard.
    template <typename Path,
              typename = std::enable_if_t<std::is_convertible_v<Path, std::filesystem::path>>>
    explicit FreezeGuard(std::initializer_list<Path> paths, // NOLINT(google-explicit-constructor)
                         const Options& options = {})
        : FreezeGuard(Paths(std::vector<std::filesystem::path>(paths.begin(), paths.end())),
                      options) {}
    /// The same, but reports a failure in `error` and makes an empty guard then.
    FreezeGuard(const Paths& paths, const Options& options, std::error_code& error) {
        detail::check(freeze(paths, options), error);
    }
    /// @overload
    FreezeGuard(const Paths& paths, std::error_code& error) : FreezeGuard(paths, {}, error) {}

    /// Freezes the filesystem that an open file is on.
    explicit FreezeGuard(Fd file, const Options& options = {}) {
        detail::check(freeze(file, options));
    }
    /// @overload
    FreezeGuard(Fd file, const Options& options, std::error_code& error) {
        detail::check(freeze(file, options), error);
    }

    /// Takes over a kept hold of the filesystem that `path` is on (see keep()); of several, the
    /// newest. Its new deadline is Options::timeout from now. Options that have nothing to act on
    /// must have their defaults: flush_budget, progress and unfreezable.
    ///
    /// @throws std::system_error: errc::no_such_hold; errc::expired if it has ended; otherwise as
    /// the constructor
    static FreezeGuard adopt(const std::filesystem::path& path, const Options& options = {}) {
        FreezeGuard guard;
        detail::check(guard.take(path, options));
        return guard;
    }
    /// @overload
    static FreezeGuard adopt(const std::filesystem::path& path, const Options& options,
                             std::error_code& error) {
        FreezeGuard guard;
        detail::check(guard.take(path, options), error);
        return guard;
    }
    /// The same for the kept holds with an id, on all their filesystems: all, or none.
    static FreezeGuard adopt(const HoldId& id, const Options& options = {}) {
        FreezeGuard guard;
        detail::check(guard.take(id, options));
        return guard;
    }
    /// @overload
    static FreezeGuard adopt(const HoldId& id, const Options& options, std::error_code& error) {
        FreezeGuard guard;
        detail::check(guard.take(id, options), error);
        return guard;
    }

    /// The other guard is empty afterwards.
    FreezeGuard(FreezeGuard&& other) noexcept = default;
    /// Ends its own holds first, as the destructor does.
    FreezeGuard& operator=(FreezeGuard&& other) noexcept {
        if (this != &other) {
            guard_ = std::move(other.guard_); // before the handler that it reports to
            handler_ = std::move(other.handler_);
        }
        return *this;
    }
    FreezeGuard(const FreezeGuard&) = delete;
    FreezeGuard& operator=(const FreezeGuard&) = delete;
    /// Ends the holds that are left. Never throws; reports failures to the failure handler. Blocks
    /// as thaw() does.
    ~FreezeGuard() { guard_.reset(); }

    /// Moves the deadline to `timeout` from now; zero: no deadline. Never blocks. Call it from the
    /// thread that does the work, so that it stops when the work hangs.
    ///
    /// @throws std::system_error: errc::expired: the filesystem is writable, give up the snapshot;
    /// ERANGE
    void extend(std::chrono::milliseconds timeout) {
        detail::check(libfreeze_guard_extend(guard_.get(), timeout.count()));
    }
    /// @overload
    void extend(std::chrono::milliseconds timeout, std::error_code& error) {
        detail::check(libfreeze_guard_extend(guard_.get(), timeout.count()), error);
    }

    /// Ends the holds and reports whether the filesystems stayed frozen. Each thaws unless another
    /// hold keeps it frozen. Blocks while the kernel thaws.
    ///
    /// @throws std::system_error: errc::expired: one had thawed in the meantime; the guard is empty
    /// and what was copied must be discarded. errc::would_deadlock: one was not thawed, since its
    /// thaw would wait for a lower filesystem that somebody still holds. Other errors: one could
    /// not be thawed. After these two the guard still holds it, and thaw() may be repeated.
    void thaw() { detail::check(libfreeze_guard_thaw(guard_.get())); }
    /// @overload
    void thaw(std::error_code& error) { detail::check(libfreeze_guard_thaw(guard_.get()), error); }

    /// Leaves the filesystems frozen, with their deadline, empties the guard, and returns the id of
    /// the holds.
    ///
    /// @throws std::system_error: errc::expired: the freeze has ended; nothing is left frozen
    HoldId keep() {
        detail::check(libfreeze_guard_keep(guard_.get()));
        return id();
    }
    /// @overload
    HoldId keep(std::error_code& error) {
        detail::check(libfreeze_guard_keep(guard_.get()), error);
        return id();
    }

    /// Whether the guard holds anything, as far as it knows.
    [[nodiscard]] explicit operator bool() const noexcept {
        return libfreeze_guard_count(guard_.get()) != 0;
    }

    /// Becomes readable as soon as a hold has ended early: by its deadline, by another program, or
    /// by the death of its guardian. thaw() and extend() then throw errc::expired. For poll(2) and
    /// epoll(7) only. Belongs to the guard; -EINVAL if that is empty.
    [[nodiscard]] int descriptor() const noexcept {
        return libfreeze_guard_descriptor(guard_.get());
    }

    /// The id that all its holds share.
    [[nodiscard]] HoldId id() const { return HoldId(libfreeze_guard_id(guard_.get())); }

    /// The filesystems that it holds, in the order in which they were frozen.
    [[nodiscard]] std::vector<Filesystem> filesystems() const {
        std::vector<Filesystem> result;
        for (std::size_t i = 0; i < libfreeze_guard_count(guard_.get()); ++i) {
            result.push_back(detail::convert(*libfreeze_guard_filesystem(guard_.get(), i)));
        }
        return result;
    }

    /// The filesystems that it left out (Unfreezable::skip).
    [[nodiscard]] std::vector<Filesystem> skipped() const {
        std::vector<Filesystem> result;
        for (std::size_t i = 0; i < libfreeze_guard_skipped_count(guard_.get()); ++i) {
            result.push_back(detail::convert(*libfreeze_guard_skipped(guard_.get(), i)));
        }
        return result;
    }

    /// How long the steps of the freeze took, up to now or until the guard was emptied.
    [[nodiscard]] Stats stats() const noexcept {
        libfreeze_stats stats{};
        libfreeze_guard_stats(guard_.get(), &stats, sizeof(stats));
        return {stats.flush_rounds, std::chrono::nanoseconds(stats.flushing_ns),
                std::chrono::nanoseconds(stats.freezing_ns),
                std::chrono::nanoseconds(stats.frozen_ns)};
    }

private:
    const FailureHandler* keep_handler(const Options& options) {
        if (options.failure_handler) {
            handler_ = std::make_unique<FailureHandler>(options.failure_handler);
        }
        return handler_.get();
    }

    int freeze(const Paths& paths, const Options& options) {
        std::vector<const char*> names;
        for (const std::filesystem::path& path : paths.all()) {
            names.push_back(path.c_str());
        }
        const detail::COptions converted(options, keep_handler(options));
        libfreeze_guard* guard = nullptr;
        const int result = libfreeze_freeze(names.data(), names.size(), converted.get(), &guard);
        guard_.reset(guard);
        return result;
    }

    int freeze(Fd file, const Options& options) {
        const detail::COptions converted(options, keep_handler(options));
        libfreeze_guard* guard = nullptr;
        const int result = libfreeze_freeze_fds(&file.fd, 1, converted.get(), &guard);
        guard_.reset(guard);
        return result;
    }

    int take(const std::filesystem::path& path, const Options& options) {
        const detail::COptions converted(options, keep_handler(options));
        libfreeze_guard* guard = nullptr;
        const int result = libfreeze_adopt(path.c_str(), converted.get(), &guard);
        guard_.reset(guard);
        return result;
    }

    int take(const HoldId& id, const Options& options) {
        const detail::COptions converted(options, keep_handler(options));
        libfreeze_guard* guard = nullptr;
        const int result = libfreeze_adopt_id(id.text.c_str(), converted.get(), &guard);
        guard_.reset(guard);
        return result;
    }

    std::unique_ptr<FailureHandler> handler_; ///< outlives guard_, which reports to it
    std::unique_ptr<libfreeze_guard, detail::GuardDeleter> guard_;
};

/// Ends all holds with an id, in any program.
///
/// @throws std::system_error: errc::expired if one had ended before; errc::no_such_hold
inline void thaw(const HoldId& id) {
    detail::check(libfreeze_thaw_id(id.text.c_str()));
}
/// @overload
inline void thaw(const HoldId& id, std::error_code& error) {
    detail::check(libfreeze_thaw_id(id.text.c_str()), error);
}

/// Moves the deadline of all holds with an id to `timeout` from now; zero: no deadline.
///
/// @throws std::system_error: errc::expired if one has ended; errc::no_such_hold; ERANGE
inline void extend(const HoldId& id, std::chrono::milliseconds timeout) {
    detail::check(libfreeze_extend_id(id.text.c_str(), timeout.count()));
}
/// @overload
inline void extend(const HoldId& id, std::chrono::milliseconds timeout, std::error_code& error) {
    detail::check(libfreeze_extend_id(id.text.c_str(), timeout.count()), error);
}

} // namespace libfreeze
