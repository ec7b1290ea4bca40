// SPDX-License-Identifier: LGPL-2.1-or-later
/// A fake kernel with real guardians: they run in threads of the test, and listen in a directory of
/// its own. Time is real.
#pragma once

#include "fake_kernel.hpp"

#include <libfreeze/freeze.hpp>

#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace testing {

class World final : public FakeKernel {
public:
    explicit World(Patches patches = Patches::none);
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    World(World&&) = delete;
    World& operator=(World&&) = delete;
    /// Waits until all guardians have exited: nothing may be held.
    ~World() override;

    /// The one that exists.
    static World& current();

    /// Whether the filesystem is frozen, or becomes so soon; or thaws soon.
    bool is_soon(bool frozen, dev_t superblock);
    /// The process id of all guardians.
    static constexpr pid_t guardian_process = 500;
    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    /// Before a fork. Where the kernel keeps the holds, it looks for deadlines that have passed all
    /// the time.
    void stop_clock();
    bool has_host_socket = false;
    bool in_initial_namespace = true;

    libfreeze::internal::Clock::time_point now() noexcept override;
    void sleep(std::chrono::milliseconds time) noexcept override;
    int connect(const std::string& path) override;
    int start_guardian() override;
    int openat(int directory, const char* path, int flags) override;
    int statx(int fd, const char* path, int flags, unsigned int mask,
              struct ::statx* status) override;
    int flock(int fd, int operation) override;
    int ftruncate(int fd, off_t length) override;
    int unlink(const std::string& path) override;
    int read_file(const std::string& path, std::string* text) override;
    int list_directory(const std::string& path, std::vector<std::string>* names) override;

private:
    void run_clock();
    [[nodiscard]] bool is_ours(const std::string& path) const;
    int run_guardian();

    std::string directory_;
    std::vector<std::thread> guardians_;
    std::thread clock_;
    std::atomic<bool> is_clock_stopped_ = false;
    std::set<int> real_files_;
};

inline libfreeze::Options with_timeout(std::chrono::milliseconds timeout) {
    libfreeze::Options options;
    options.timeout = timeout;
    return options;
}

/// The code of the std::system_error that a call throws, or none.
template <typename Function>
std::error_code code_of(Function&& function) {
    try {
        std::forward<Function>(function)();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

/// What it says.
template <typename Function>
std::string message_of(Function&& function) {
    try {
        std::forward<Function>(function)();
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

/// Collects what guards report when they are destroyed.
struct Reports {
    std::vector<std::error_code> codes;
    std::vector<std::string> lines;

    libfreeze::FailureHandler handler() {
        return [this](const std::system_error& error, const std::filesystem::path&) {
            codes.push_back(error.code());
            lines.emplace_back(error.what());
        };
    }
};

} // namespace testing
