// SPDX-License-Identifier: LGPL-2.1-or-later
#include "probe.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <new>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace demo {

struct Probe::Shared {
    std::atomic<std::int64_t> started;  ///< of the last write
    std::atomic<std::int64_t> finished; ///< of the last write that has finished
    std::atomic<int> stalls;
    std::array<Span, 64> stall;
};

namespace {

constexpr std::int64_t long_for_a_write = 250 * ns_per_ms;

} // namespace

Probe::Probe(const std::string& directory) {
    const std::string path = directory + "/probe";
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        throw std::system_error(errno, std::generic_category(), path + ": open");
    void* memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        throw std::system_error(errno, std::generic_category(), "mmap");
    shared_ = new (memory) Shared{};
    pid_ = fork();
    if (pid_ < 0)
        throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ > 0) {
        close(fd);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        const std::int64_t started = now_ns();
        shared_->started = started;
        if (pwrite(fd, "x", 1, 0) != 1)
            _exit(1);
        const std::int64_t finished = now_ns();
        const int n = shared_->stalls;
        if (finished - started > long_for_a_write && n < int(shared_->stall.size())) {
            shared_->stall.at(static_cast<std::size_t>(n)) = {started, finished};
            shared_->stalls = n + 1;
        }
        shared_->finished = finished;
        usleep(10000);
    }
}

Probe::~Probe() {
    kill(pid_, SIGKILL);
    for (int i = 0; i < 20 && waitpid(pid_, nullptr, WNOHANG) == 0; ++i)
        usleep(5000);
    munmap(shared_, sizeof(Shared));
}

Probe::State Probe::observe() const {
    const std::int64_t begin = now_ns();
    for (int i = 0; i < 1000; ++i) {
        if (shared_->finished >= begin)
            return State::writable;
        const bool in_flight = shared_->started > shared_->finished;
        if (in_flight && now_ns() - std::max(begin, shared_->started.load()) > long_for_a_write)
            return State::held_back;
        usleep(10000);
    }
    throw std::runtime_error("the probe does not get to run");
}

std::vector<Span> Probe::held_back() const {
    std::vector<Span> spans(shared_->stall.begin(), shared_->stall.begin() + shared_->stalls);
    const std::int64_t started = shared_->started;
    if (started > shared_->finished && now_ns() - started > long_for_a_write)
        spans.push_back({started, now_ns()});
    return spans;
}

} // namespace demo
