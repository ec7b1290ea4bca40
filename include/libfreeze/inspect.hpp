// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/error.hpp>
#include <libfreeze/filesystem.hpp>
#include <libfreeze/freeze.h>
#include <libfreeze/freeze_guard.hpp>
#include <libfreeze/options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace libfreeze {

/// A hold of a filesystem.
struct HoldInfo {
    std::string id;                                ///< empty if it was made without libfreeze
    std::string command;                           ///< of the process, at the time of the freeze
    std::string comment;                           ///< as the holder gave it
    std::string ended;                             ///< of thaw_others(): what became of it
    std::chrono::milliseconds age{0};              ///< since the freeze
    std::optional<std::chrono::milliseconds> left; ///< until its deadline; none: it has no deadline
    pid_t pid = 0;                                 ///< 0: not visible
    bool kept = false;                             ///< its holder has left it frozen on purpose
    bool gone = false;                             ///< its holder has exited
    bool pending = false;                          ///< still trying to freeze
};

/// The status of a filesystem.
struct FilesystemStatus {
    /// Whether it is frozen.
    enum class State {
        unknown = LIBFREEZE_STATE_UNKNOWN,   ///< no guardian, and the kernel cannot tell
        unfrozen = LIBFREEZE_STATE_UNFROZEN, ///< not frozen
        freezing = LIBFREEZE_STATE_FREEZING, ///< a freeze is in progress
        frozen = LIBFREEZE_STATE_FROZEN,     ///< frozen
    };
    Filesystem filesystem;         ///< the filesystem
    std::optional<bool> freezable; ///< none: unknown
    State state = State::unknown;  ///< whether it is frozen
    std::string reason;            ///< why it is not freezable, or why its state is unknown
    std::optional<std::chrono::milliseconds> frozen_for; ///< for how long; none: unknown
    unsigned int block_freezes = 0;           ///< by its block devices; patched kernels only
    unsigned int kernel_freezes = 0;          ///< by the kernel; patched kernels only
    bool suspended = false;                   ///< device-mapper has suspended one of its devices
    bool stack_complete = true;               ///< false: it may be stacked on more than is listed
    std::optional<std::uint64_t> dirty_bytes; ///< waiting to be written to its device
    std::string dirty_source;                 ///< the file that it is from, or why it is unknown
    std::size_t rank = 0;                     ///< of plan(): higher ranks are frozen first
    std::vector<HoldInfo> holds;              ///< what keeps it frozen
    std::vector<Filesystem> stacked_on;       ///< filesystems that hold what is stored in it
    std::vector<std::filesystem::path> other_mountpoints; ///< where else it is mounted
};

namespace detail {

struct ReportDeleter {
    void operator()(libfreeze_report* report) const noexcept { libfreeze_report_free(report); }
};
using Report = std::unique_ptr<libfreeze_report, ReportDeleter>;

inline HoldInfo convert(const libfreeze_hold& from) {
    HoldInfo hold;
    hold.id = from.id;
    hold.command = from.command;
    hold.comment = from.comment;
    hold.ended = from.ended;
    hold.age = std::chrono::milliseconds(from.age_ms);
    if (from.left_ms >= 0) {
        hold.left = std::chrono::milliseconds(from.left_ms);
    }
    hold.pid = from.pid;
    hold.kept = (from.flags & LIBFREEZE_HOLD_KEPT) != 0;
    hold.gone = (from.flags & LIBFREEZE_HOLD_GONE) != 0;
    hold.pending = (from.flags & LIBFREEZE_HOLD_PENDING) != 0;
    return hold;
}

inline FilesystemStatus convert(const libfreeze_report* report, std::size_t number) {
    libfreeze_status from{};
    check(libfreeze_report_status(report, number, &from, sizeof(from)));
    FilesystemStatus to;
    to.filesystem = convert(from.filesystem);
    if (from.freezable >= 0) {
        to.freezable = from.freezable != 0;
    }
    to.state = static_cast<FilesystemStatus::State>(from.state);
    to.reason = from.reason;
    if (from.frozen_ms >= 0) {
        to.frozen_for = std::chrono::milliseconds(from.frozen_ms);
    }
    to.block_freezes = from.block_freezes;
    to.kernel_freezes = from.kernel_freezes;
    to.suspended = from.suspended != 0;
    to.stack_complete = from.stack_complete != 0;
    if (from.dirty_bytes >= 0) {
        to.dirty_bytes = static_cast<std::uint64_t>(from.dirty_bytes);
    }
    to.dirty_source = from.dirty_source;
    to.rank = from.rank;
    for (std::size_t i = 0; i < from.hold_count; ++i) {
        libfreeze_hold hold{};
        check(libfreeze_report_hold(report, number, i, &hold, sizeof(hold)));
        to.holds.push_back(convert(hold));
    }
    for (std::size_t i = 0; i < from.below_count; ++i) {
        to.stacked_on.push_back(convert(*libfreeze_report_below(report, number, i)));
    }
    for (std::size_t i = 0; i < from.other_mountpoint_count; ++i) {
        to.other_mountpoints.emplace_back(libfreeze_report_mountpoint(report, number, i));
    }
    return to;
}

inline std::vector<FilesystemStatus> convert(const Report& report) {
    std::vector<FilesystemStatus> result;
    for (std::size_t i = 0; i < libfreeze_report_count(report.get()); ++i) {
        result.push_back(convert(report.get(), i));
    }
    return result;
}

} // namespace detail

/// Reports what is known about the filesystems that the paths are on; without paths, about all
/// mounted ones that are not known to be unfreezable. Freezes nothing, and never blocks on a frozen
/// filesystem. Thread-safe. The holders are reported only to callers with CAP_SYS_ADMIN.
///
/// @param timeout  give up after this time (errc::acquire_timeout); zero: none
/// @throws std::system_error: a path cannot be looked at
[[nodiscard]] inline std::vector<FilesystemStatus>
inspect(const std::vector<std::filesystem::path>& paths = {},
        std::chrono::milliseconds timeout = std::chrono::milliseconds(0)) {
    std::vector<const char*> names;
    names.reserve(paths.size());
    for (const std::filesystem::path& path : paths) {
        names.push_back(path.c_str());
    }
    libfreeze_report* report = nullptr;
    detail::check(libfreeze_inspect(names.data(), names.size(), timeout.count(), &report));
    return detail::convert(detail::Report(report));
}
[[nodiscard]] inline std::vector<FilesystemStatus>
inspect(const std::vector<std::filesystem::path>& paths, std::chrono::milliseconds timeout,
        std::error_code& error) {
    return detail::catching(error, [&] { return inspect(paths, timeout); });
}

/// Reports what a FreezeGuard would freeze, in the order in which it would do so. Freezes nothing.
///
/// @throws std::system_error: as FreezeGuard's constructor, as far as that can be foreseen
[[nodiscard]] inline std::vector<FilesystemStatus> plan(const Paths& paths,
                                                        const Options& options = {}) {
    std::vector<const char*> names;
    for (const std::filesystem::path& path : paths.all()) {
        names.push_back(path.c_str());
    }
    libfreeze_report* report = nullptr;
    const detail::COptions converted(options, nullptr);
    detail::check(libfreeze_plan(names.data(), names.size(), converted.get(), &report));
    return detail::convert(detail::Report(report));
}
[[nodiscard]] inline std::vector<FilesystemStatus> plan(const Paths& paths, const Options& options,
                                                        std::error_code& error) {
    return detail::catching(error, [&] { return plan(paths, options); });
}

/// The administrator's rescue: ends all holds of the filesystem that `path` is on, also those
/// made without libfreeze, thaws it, and returns what was ended. `path` may also be the block device of a filesystem
/// that was unmounted while it was frozen. A freeze by device-mapper stays; on kernels without the
/// patches the call is refused meanwhile (errc::already_frozen).
///
/// @throws std::system_error: errc::no_such_hold: it is not frozen; other errors: it could not be
/// thawed
inline FilesystemStatus
thaw_others(const std::filesystem::path& path,
            std::chrono::milliseconds timeout = std::chrono::milliseconds(0)) {
    libfreeze_report* report = nullptr;
    detail::check(libfreeze_thaw_others(path.c_str(), timeout.count(), &report));
    return detail::convert(detail::Report(report)).front();
}
inline FilesystemStatus thaw_others(const std::filesystem::path& path,
                                    std::chrono::milliseconds timeout, std::error_code& error) {
    return detail::catching(error, [&] { return thaw_others(path, timeout); });
}

} // namespace libfreeze
