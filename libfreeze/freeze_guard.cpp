// SPDX-License-Identifier: LGPL-2.1-or-later
#include <libfreeze/freeze_guard.hpp>

#include "error_overload.hpp"
#include "report.hpp"
#include "resolve.hpp"
#include "superblock.hpp"

#include <stdexcept>
#include <utility>

#include <fmt/format.h>

namespace libfreeze {

namespace {

void check_timeout(std::chrono::milliseconds timeout, std::chrono::milliseconds least,
                   Operation operation, const Filesystem& filesystem) {
    if (timeout < least || timeout > max_timeout) {
        throw failure(operation, filesystem, system_error_code(ERANGE),
                      fmt::format("a timeout of {} ms is not possible: choose {} s to {} s",
                                  timeout.count(), least == least.zero() ? 0 : 1,
                                  std::chrono::seconds(max_timeout).count()));
    }
}

std::system_error describe(Operation operation, const Filesystem& filesystem,
                           const Outcome& outcome) {
    if (!outcome.leftover) {
        return failure(operation, filesystem, outcome.code);
    }
    return failure(
        operation, filesystem, outcome.code,
        fmt::format(
            "it did not stay frozen: discard what was copied meanwhile. Finding that out froze "
            "it again and undoing that failed ({}): run fsfreeze -u {}",
            outcome.leftover.message(), quoted(filesystem.path)));
}

} // namespace

class [[gnu::visibility("hidden")]] FreezeGuard::Impl {
public:
    using Take = Outcome (Superblock::*)(int, std::chrono::nanoseconds, Seat*);

    Impl(const std::filesystem::path& path, const Options& options, Operation operation, Take take);
    Impl(Impl &&) = delete;
    Impl& operator=(Impl&&) = delete;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl();

    void extend(std::chrono::milliseconds timeout);
    void thaw();
    void release() noexcept;

    [[nodiscard]] bool is_ours() const noexcept {
        return the_system().getpid() == maker_;
    }
    [[nodiscard]] const Filesystem& filesystem() const noexcept {
        return target_.filesystem;
    }

private:
    void check_process(const char* function) const;
    void succeed(Operation operation, const Outcome& outcome);

    Target target_;
    std::shared_ptr<Superblock> superblock_;
    Seat seat_;
    pid_t maker_;
    bool caller_knows_ = false; ///< that the freeze expired
};

FreezeGuard::Impl::Impl(const std::filesystem::path& path, const Options& options,
                        Operation operation, Take take)
    : maker_(the_system().getpid()) {
    check_timeout(options.timeout, std::chrono::milliseconds::zero(), operation,
                  {path, {}, {}, {}});
    target_ = resolve(path, operation);
    superblock_ = Superblock::find(target_.superblock);
    succeed(operation, (superblock_.get()->*take)(target_.fd.get(), options.timeout, &seat_));
}

/// A forked child has nothing to thaw: to the kernel it would be an administrator who ends its
/// parent's freeze.
FreezeGuard::Impl::~Impl() {
    if (!seat_.hold || !is_ours()) {
        return;
    }
    Outcome outcome = superblock_->leave(target_.fd.get(), &seat_);
    if (seat_.hold) { // still frozen: nobody will try again after this
        outcome = superblock_->leave(target_.fd.get(), &seat_);
    }
    if (seat_.hold) {
        superblock_->abandon(&seat_);
    }
    if (outcome.code && !caller_knows_) {
        report_failure(describe(Operation::thaw, target_.filesystem, outcome), target_.filesystem,
                       target_.superblock);
    }
}

void FreezeGuard::Impl::extend(std::chrono::milliseconds timeout) {
    check_process("extend");
    check_timeout(timeout, std::chrono::milliseconds(1), Operation::extend, target_.filesystem);
    succeed(Operation::extend, superblock_->extend(target_.fd.get(), timeout, &seat_));
}

void FreezeGuard::Impl::thaw() {
    check_process("thaw");
    succeed(Operation::thaw, superblock_->leave(target_.fd.get(), &seat_));
}

void FreezeGuard::Impl::release() noexcept {
    if (is_ours()) {
        superblock_->release(&seat_);
    }
}

void FreezeGuard::Impl::check_process(const char* function) const {
    if (!is_ours()) {
        throw std::logic_error(
            fmt::format("libfreeze: {}() of the guard of {} in a forked child: only process {}, "
                        "which made it, can use it",
                        function, quoted(target_.filesystem.path), maker_));
    }
}

void FreezeGuard::Impl::succeed(Operation operation, const Outcome& outcome) {
    if (outcome.code) {
        caller_knows_ = outcome.code == errc::expired;
        throw describe(operation, target_.filesystem, outcome);
    }
}

namespace {

[[noreturn]] void refuse_empty(const char* function) {
    throw std::logic_error(fmt::format("libfreeze: {}() of an empty guard", function));
}

} // namespace

FreezeGuard::FreezeGuard() noexcept = default;

FreezeGuard::FreezeGuard(const std::filesystem::path& path, const Options& options)
    : impl_(std::make_unique<Impl>(path, options, Operation::freeze, &Superblock::join)) {}

FreezeGuard::FreezeGuard(const std::filesystem::path& path, const Options& options,
                         std::error_code& error) {
    catching(error, [&] { *this = FreezeGuard(path, options); });
}

FreezeGuard::FreezeGuard(const std::filesystem::path& path, std::error_code& error)
    : FreezeGuard(path, Options(), error) {}

FreezeGuard FreezeGuard::adopt(const std::filesystem::path& path, const Options& options) {
    FreezeGuard guard;
    guard.impl_ = std::make_unique<Impl>(path, options, Operation::adopt, &Superblock::adopt);
    return guard;
}

FreezeGuard FreezeGuard::adopt(const std::filesystem::path& path, const Options& options,
                               std::error_code& error) {
    FreezeGuard guard;
    catching(error, [&] { guard = adopt(path, options); });
    return guard;
}

FreezeGuard::FreezeGuard(FreezeGuard&& other) noexcept = default;
FreezeGuard& FreezeGuard::operator=(FreezeGuard&& other) noexcept = default;
FreezeGuard::~FreezeGuard() = default;

void FreezeGuard::extend(std::chrono::milliseconds timeout) {
    if (!impl_) {
        refuse_empty("extend");
    }
    impl_->extend(timeout);
}

void FreezeGuard::extend(std::chrono::milliseconds timeout, std::error_code& error) {
    catching(error, [&] { extend(timeout); });
}

void FreezeGuard::thaw() {
    if (!impl_) {
        refuse_empty("thaw");
    }
    try {
        impl_->thaw();
    } catch (const std::system_error& error) {
        if (error.code() == errc::expired) {
            impl_.reset();
        }
        throw;
    }
    impl_.reset();
}

void FreezeGuard::thaw(std::error_code& error) {
    catching(error, [&] { thaw(); });
}

void FreezeGuard::release() noexcept {
    if (impl_) {
        impl_->release();
        impl_.reset();
    }
}

FreezeGuard::operator bool() const noexcept {
    return impl_ != nullptr;
}

const Filesystem& FreezeGuard::filesystem() const {
    if (!impl_) {
        refuse_empty("filesystem");
    }
    return impl_->filesystem();
}

} // namespace libfreeze
