// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libfreeze/export.hpp>
#include <libfreeze/filesystem.hpp>
#include <libfreeze/options.hpp>
#include <libfreeze/stats.hpp>

#include <chrono>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <system_error>
#include <vector>

namespace libfreeze {

/// Keeps a filesystem, or several, frozen: writers wait, and what is on the devices is consistent,
/// until the guard is thawed or destroyed.
///
/// What the guard promises: if thaw() returns, every filesystem was frozen without a break from the
/// constructor's return to the call of thaw(). Otherwise thaw() reports errc::expired, and what was
/// copied meanwhile must be thrown away. On a kernel without libfreeze's patches two things escape
/// it, since such a kernel remembers no owners: that somebody thawed the filesystem and froze it
/// again, and whose freeze a thaw ends.
///
/// All guards of a process on one filesystem share one hold in the kernel, whatever mounts or paths
/// they were made with; its deadline is the latest of theirs (or up to two seconds more, since the
/// kernel counts whole seconds and no less than two), and the last guard to go thaws. They may be
/// destroyed in any order. So a guard whose own timeout has passed is still good as long as another
/// guard kept the filesystem frozen. Once the kernel ended the hold, all its guards have expired; a
/// guard made after that freezes anew. A program that also calls the freeze ioctls itself, or loads
/// this library twice, mixes up its own holds.
///
/// A guardian (see Options::guardian) makes these requests in place of the process: see there what
/// changes.
///
/// Threads: different guards may be used from different threads at any time; one guard by one
/// thread at a time. Forks: only the process that made a guard can use it. In a forked child the
/// destructor does nothing, extend() and thaw() throw std::logic_error. A guard's descriptor is
/// closed on exec.
///
/// Privilege: CAP_SYS_ADMIN in the user namespace that mounted the filesystem, for every call that
/// says "ioctl". Misuse of the contract (extend() or thaw() of an empty guard or in a forked child)
/// is a std::logic_error, from the overloads with an std::error_code as well. Any function but the
/// noexcept ones may throw std::bad_alloc.
class [[nodiscard]] LIBFREEZE_EXPORT FreezeGuard final {
public:
    /// An empty guard: holds nothing, false as a condition.
    FreezeGuard() noexcept;

    /// Freezes the filesystem that `path` is on; it is frozen when this returns.
    ///
    /// Any path on it will do: its mountpoint, a directory, a file, a socket, through a bind mount
    /// or from a subvolume (a btrfs filesystem is frozen as a whole). Symbolic links are followed.
    /// A block device is refused, with the place where it is mounted.
    ///
    /// Blocks until all that is dirty is written out, mostly before writers are held back (syncfs,
    /// see Options::flush_budget; then ioctl), and for ever if a writer never lets go. The timeout
    /// runs from the completed freeze. The calling program must not write to the filesystem until
    /// the thaw.
    ///
    /// Throws std::system_error; nothing is frozen then:
    ///  - errc::not_supported (EOPNOTSUPP): this filesystem cannot be frozen, or `path` is a block
    ///    device;
    ///  - errc::already_frozen (EBUSY): somebody else froze it and the kernel does not nest freezes
    ///    (kernels without the patches, or with fs.freeze_nest=0), or the filesystem is being
    ///    resized;
    ///  - errc::unsupported_by_kernel (ENOTTY): a timeout on a kernel without the timeout patch,
    ///    and Options::guardian is never;
    ///  - errc::would_deadlock (EDEADLK): see Options::allow_self_deadlock;
    ///  - errc::acquire_timeout (ETIMEDOUT): Options::acquire_timeout has passed;
    ///  - EPIPE, ECONNRESET: its guardian was killed meanwhile;
    ///  - ENOENT, EPERM, ENOMEM, ...: its guardian could not be started;
    ///  - ERANGE: a timeout that is negative or longer than max_timeout;
    ///  - EPERM: no privilege; EOVERFLOW: 65536 holds already; EINTR: killed while waiting for
    ///    another's freeze;
    ///  - what opening the path, writing out, or the filesystem's own freeze gave (ENOENT, EACCES,
    ///    EIO, ...).
    [[nodiscard]] explicit FreezeGuard(const std::filesystem::path& path,
                                       const Options& options = {});

    /// The same, with the error in `error` and an empty guard.
    [[nodiscard]] FreezeGuard(const std::filesystem::path& path, const Options& options,
                              std::error_code& error);
    [[nodiscard]] FreezeGuard(const std::filesystem::path& path, std::error_code& error);

    /// Freezes the filesystems that `paths` are on, as the constructor above does with one: when
    /// this returns all are frozen, and if it throws none is.
    ///
    /// Paths on the same filesystem count once. A filesystem that is stacked on another (in an
    /// image file on it, through device-mapper, LVM, md and partitions, at any depth) is frozen
    /// before that one and thawed after it, since it could not finish its writes otherwise. Those
    /// of which that cannot be found out (without sysfs, or where the image file has been deleted
    /// or is in another mount namespace) come before all others, the last mounted first. Those that
    /// do not depend on each other are frozen at the same time, by threads that have ended when
    /// this returns. Not seen is an external journal of ext4, nor the further devices of f2fs. Do
    /// not freeze a filesystem while one that it is stacked on is frozen already: it would wait for
    /// that one's thaw.
    ///
    /// A timeout runs from when the last of them is frozen.
    ///
    /// Throws as the constructor above, and the message names which of them failed. Also
    /// errc::expired: the timeout of one passed while the others were being frozen. Where one could
    /// not be thawed again after that, the failure handler is told. No path at all is a
    /// std::logic_error.
    [[nodiscard]] explicit FreezeGuard(const std::vector<std::filesystem::path>& paths,
                                       const Options& options = {});
    // NOLINTNEXTLINE(google-explicit-constructor): no call freezes that does not say so
    [[nodiscard]] explicit FreezeGuard(std::initializer_list<std::filesystem::path> paths,
                                       const Options& options = {})
        : FreezeGuard(std::vector(paths), options) {}

    /// The same, with the error in `error` and an empty guard.
    [[nodiscard]] FreezeGuard(const std::vector<std::filesystem::path>& paths,
                              const Options& options, std::error_code& error);
    [[nodiscard]] FreezeGuard(std::initializer_list<std::filesystem::path> paths,
                              const Options& options, std::error_code& error)
        : FreezeGuard(std::vector(paths), options, error) {}
    [[nodiscard]] FreezeGuard(const std::vector<std::filesystem::path>& paths,
                              std::error_code& error)
        : FreezeGuard(paths, {}, error) {}
    [[nodiscard]] FreezeGuard(std::initializer_list<std::filesystem::path> paths,
                              std::error_code& error)
        : FreezeGuard(std::vector(paths), error) {}

    /// Takes over a freeze that exists: one that this process left with release() (also before an
    /// exec), that of a process that is gone (fsfreeze -f), or else the newest of anybody. From
    /// here on it is as if this guard had made it; the kernel does not tell, though, if it was
    /// thawed before, or thawed and frozen again since.
    ///
    /// `options.timeout` is the new deadline, counted from now; zero removes the one it had. ioctl.
    /// A process that has a freeze of its own on the filesystem can take over only that one. Where
    /// a living guard of this process holds the filesystem and none was released, there is nothing
    /// to adopt: std::logic_error.
    ///
    /// Throws as the constructor, and errc::expired if there is no freeze to take over. On a kernel
    /// without the patches this is found out by freezing, which is undone at once; while
    /// device-mapper has suspended a device of the filesystem it is errc::already_frozen there,
    /// since a thaw would end that freeze.
    static FreezeGuard adopt(const std::filesystem::path& path, const Options& options = {});
    static FreezeGuard adopt(const std::filesystem::path& path, const Options& options,
                             std::error_code& error);

    FreezeGuard(FreezeGuard&& other) noexcept;
    /// Lets go of its own freeze first, as the destructor does.
    FreezeGuard& operator=(FreezeGuard&& other) noexcept;
    FreezeGuard(const FreezeGuard&) = delete;
    FreezeGuard& operator=(const FreezeGuard&) = delete;

    /// Thaws, never throws, and reports what fails to the failure handler (see
    /// set_failure_handler), unless thaw() or extend() has told the caller already that the freeze
    /// expired. Blocks as thaw() does.
    ~FreezeGuard();

    /// Moves the deadline to `timeout` from now (rounded as Options::timeout), whether or not there
    /// was one. Does not block (ioctl). Call it from the thread that does the work, so that it
    /// stops when the work hangs.
    ///
    /// Throws std::system_error: errc::expired, if the freeze has ended: give up the snapshot, the
    /// filesystem is writable; errc::unsupported_by_kernel; ERANGE, if the timeout is not above
    /// zero or exceeds max_timeout; EPERM. After ERANGE, EPERM and unsupported_by_kernel the guard
    /// is as before, but that with several filesystems some may have got the new deadline.
    /// errc::expired if any of several has ended, or was thawed by a thaw() that failed.
    void extend(std::chrono::milliseconds timeout);
    void extend(std::chrono::milliseconds timeout, std::error_code& error);

    /// Thaws, unless another guard of this process still needs the freeze, and says whether the
    /// freeze has lasted. Blocks (ioctl) while the filesystem writes what it must; on some kernels
    /// while its device is suspended.
    ///
    /// Throws std::system_error: errc::expired, if the freeze had ended before: the guard is then
    /// empty and anything copied is not consistent; EPERM, EIO or what else kept the filesystem
    /// from thawing: it is still frozen, the guard still holds it, and thaw() may be tried again.
    /// Of several filesystems all are thawed that can be: not those that are stacked on one that is
    /// still frozen. What has expired is then told by the thaw() that succeeds with the rest.
    void thaw();
    void thaw(std::error_code& error);

    /// Leaves the filesystem frozen, with its deadline, and empties the guard. A later adopt()
    /// takes it over; several filesystems are adopted one by one. Where only a guardian knows the
    /// deadline it goes on to keep it: what adopt() and extend() set then is not its business. As
    /// long as another guard of this process holds the filesystem by a guardian, that still thaws
    /// when the process dies. If the freeze is known to have ended, or its guardian was killed, the
    /// failure handler is told.
    void release() noexcept;

    /// Whether the guard holds a freeze, as far as it knows: it does not ask the kernel.
    [[nodiscard]] explicit operator bool() const noexcept;

    /// The filesystem it holds, of several the first of filesystems(); std::logic_error if it is
    /// empty. Valid until the guard changes.
    [[nodiscard]] const Filesystem& filesystem() const;

    /// The filesystems it holds, in the order in which they were frozen; none if it is empty. Of
    /// several paths on one filesystem it has the first.
    [[nodiscard]] std::vector<Filesystem> filesystems() const;

    /// The filesystems that it does not hold since they cannot be frozen (Unfreezable::skip).
    [[nodiscard]] std::vector<Filesystem> skipped() const;

    /// What the freeze has cost so far, or had cost when the guard was emptied; nothing if it never
    /// held any.
    [[nodiscard]] Stats stats() const noexcept;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace libfreeze
