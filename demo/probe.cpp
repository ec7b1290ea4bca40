// SPDX-License-Identifier: LGPL-2.1-or-later
#include "probe.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <new>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace demo {

struct Probe::Shared {
    std::atomic<Clock::time_point> started;  ///< of the last write
    std::atomic<Clock::time_point> finished; ///< of the last write that has finished
    std::atomic<std::size_t> count;
    std::array<Span, 64> blocked;
};

namespace {

constexpr auto long_for_a_write = 250ms;
constexpr auto pause_us = 10000;

template <class Shared>
Shared* make_shared_memory() {
    void* memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        throw std::system_error(errno, std::generic_category(), "mmap");
    return new (memory) Shared{};
}

template <class Shared>
int write_repeatedly(const std::string& path, Shared& shared) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    for (;;) {
        const auto started = Clock::now();
        shared.started = started;
        if (pwrite(fd, "x", 1, 0) != 1)
            return 1;
        const auto finished = Clock::now();
        const std::size_t n = shared.count;
        if (finished - started > long_for_a_write && n < shared.blocked.size()) {
            shared.blocked.at(n) = {started, finished};
            shared.count = n + 1;
        }
        shared.finished = finished;
        usleep(pause_us);
    }
}

} // namespace

Probe::Probe(const std::string& directory)
    : shared_(make_shared_memory<Shared>()),
      child_([&] { return write_repeatedly(directory + "/probe", *shared_); }) {
    if (observe() != State::writable)
        throw std::runtime_error(directory + " is frozen");
}

Probe::~Probe() {
    munmap(shared_, sizeof(Shared));
}

Probe::State Probe::observe() const {
    const auto begin = Clock::now();
    for (int i = 0; i < 1000; ++i) {
        if (shared_->finished.load() >= begin)
            return State::writable;
        const auto started = shared_->started.load();
        const bool in_flight = started > shared_->finished.load();
        if (in_flight && Clock::now() - std::max(begin, started) > long_for_a_write)
            return State::blocked;
        usleep(pause_us);
    }
    throw std::runtime_error("the probe is not scheduled");
}

std::optional<Clock::time_point>
Probe::wait_until_writable(std::chrono::milliseconds timeout) const {
    const auto end = Clock::now() + timeout;
    while (Clock::now() < end) {
        if (observe() == State::writable) {
            if (blocked().empty())
                return std::nullopt;
            return blocked().back().to;
        }
    }
    return std::nullopt;
}

std::vector<Span> Probe::blocked() const {
    std::vector<Span> spans(shared_->blocked.begin(), shared_->blocked.begin() + shared_->count);
    const auto started = shared_->started.load();
    if (started > shared_->finished.load() && Clock::now() - started > long_for_a_write)
        spans.push_back({started, Clock::now()});
    return spans;
}

} // namespace demo
