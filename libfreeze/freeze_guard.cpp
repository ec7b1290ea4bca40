// SPDX-License-Identifier: LGPL-2.1-or-later
#include <libfreeze/freeze_guard.hpp>

#include "error_overload.hpp"
#include "group.hpp"

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

void check_guardian(const Options& options) {
    if (options.acquire_timeout < options.acquire_timeout.zero()) {
        throw std::logic_error("libfreeze: Options::acquire_timeout is negative");
    }
    if (options.acquire_timeout != options.acquire_timeout.zero() &&
        options.guardian == UseGuardian::never) {
        throw std::logic_error("libfreeze: Options::acquire_timeout needs a guardian");
    }
}

} // namespace

class [[gnu::visibility("hidden")]] FreezeGuard::Impl {
public:
    Impl() = default;
    Impl(Impl &&) = delete;
    Impl& operator=(Impl&&) = delete;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    /// A forked child has nothing to thaw: to the kernel it would be an administrator who ends its
    /// parent's freeze.
    ~Impl() {
        if (!is_ours()) {
            group.forget();
        }
    }

    void check_process(const char* function) const;

    [[nodiscard]] bool is_ours() const noexcept {
        return the_system().getpid() == maker_;
    }
    [[nodiscard]] const Filesystem& filesystem() const {
        return group.members().front().target.filesystem;
    }

    Group group;

private:
    pid_t maker_ = the_system().getpid();
};

void FreezeGuard::Impl::check_process(const char* function) const {
    if (!is_ours()) {
        throw std::logic_error(
            fmt::format("libfreeze: {}() of the guard of {} in a forked child: only process {}, "
                        "which made it, can use it",
                        function, quoted(filesystem().path), maker_));
    }
}

namespace {

[[noreturn]] void refuse_empty(const char* function) {
    throw std::logic_error(fmt::format("libfreeze: {}() of an empty guard", function));
}

} // namespace

FreezeGuard::FreezeGuard() noexcept = default;

FreezeGuard::FreezeGuard(const std::filesystem::path& path, const Options& options)
    : FreezeGuard(std::vector{path}, options) {}

FreezeGuard::FreezeGuard(const std::filesystem::path& path, const Options& options,
                         std::error_code& error)
    : FreezeGuard(std::vector{path}, options, error) {}

FreezeGuard::FreezeGuard(const std::filesystem::path& path, std::error_code& error)
    : FreezeGuard(std::vector{path}, error) {}

FreezeGuard::FreezeGuard(const std::vector<std::filesystem::path>& paths, const Options& options)
    : impl_(std::make_unique<Impl>()) {
    if (paths.empty()) {
        throw std::logic_error("libfreeze: a guard needs a path");
    }
    check_timeout(options.timeout, std::chrono::milliseconds::zero(), Operation::freeze,
                  {paths.front(), {}, {}, {}});
    check_guardian(options);
    impl_->group.freeze(paths, options);
}

FreezeGuard::FreezeGuard(const std::vector<std::filesystem::path>& paths, const Options& options,
                         std::error_code& error) {
    catching(error, [&] { *this = FreezeGuard(paths, options); });
}

FreezeGuard FreezeGuard::adopt(const std::filesystem::path& path, const Options& options) {
    check_timeout(options.timeout, std::chrono::milliseconds::zero(), Operation::adopt,
                  {path, {}, {}, {}});
    FreezeGuard guard;
    guard.impl_ = std::make_unique<Impl>();
    guard.impl_->group.adopt(path, options);
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
    if (!*this) {
        refuse_empty("extend");
    }
    impl_->check_process("extend");
    check_timeout(timeout, std::chrono::milliseconds(1), Operation::extend, impl_->filesystem());
    impl_->group.extend(timeout);
}

void FreezeGuard::extend(std::chrono::milliseconds timeout, std::error_code& error) {
    catching(error, [&] { extend(timeout); });
}

void FreezeGuard::thaw() {
    if (!*this) {
        refuse_empty("thaw");
    }
    impl_->check_process("thaw");
    impl_->group.thaw();
}

void FreezeGuard::thaw(std::error_code& error) {
    catching(error, [&] { thaw(); });
}

void FreezeGuard::release() noexcept {
    if (impl_ && impl_->is_ours()) {
        impl_->group.release();
    } else {
        impl_.reset();
    }
}

FreezeGuard::operator bool() const noexcept {
    return impl_ && !impl_->group.members().empty();
}

const Filesystem& FreezeGuard::filesystem() const {
    if (!*this) {
        refuse_empty("filesystem");
    }
    return impl_->filesystem();
}

std::vector<Filesystem> FreezeGuard::filesystems() const {
    std::vector<Filesystem> result;
    if (impl_) {
        for (const Member& member : impl_->group.members()) {
            result.push_back(member.target.filesystem);
        }
    }
    return result;
}

Stats FreezeGuard::stats() const noexcept {
    return impl_ ? impl_->group.stats() : Stats();
}

std::vector<Filesystem> FreezeGuard::skipped() const {
    return impl_ ? impl_->group.skipped() : std::vector<Filesystem>();
}

} // namespace libfreeze
