// SPDX-License-Identifier: LGPL-2.1-or-later
#include "writer.hpp"

#include <array>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

namespace bench {

namespace {

constexpr std::chrono::milliseconds pause{1};

int open_log(const std::filesystem::path& directory) {
    const auto path = directory / "log";
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        throw std::system_error(errno, std::system_category(), path.string());
    }
    return fd;
}

void take_real_time_priority() {
    sched_param lowest{};
    lowest.sched_priority = 1;
    // If this fails, the result is only less exact.
    ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &lowest);
}

} // namespace

Writer::Writer(const std::filesystem::path& directory)
    : fd_(open_log(directory)), thread_([this] { write(); }) {}

Writer::~Writer() {
    stopping_ = true;
    if (thread_.joinable()) {
        thread_.join();
    }
    ::close(fd_);
}

const std::vector<Span>& Writer::stop() {
    stopping_ = true;
    thread_.join();
    if (error_ != 0) {
        throw std::system_error(error_, std::system_category(), "the writer's write");
    }
    return spans_;
}

void Writer::write() {
    take_real_time_priority();
    const std::array<char, 4096> page{};
    while (!stopping_ && error_ == 0) {
        const auto began = Clock::now();
        if (::write(fd_, page.data(), page.size()) != static_cast<ssize_t>(page.size())) {
            error_ = errno;
        }
        spans_.push_back({began, Clock::now()});
        std::this_thread::sleep_for(pause);
    }
}

} // namespace bench
