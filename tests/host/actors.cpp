// SPDX-License-Identifier: LGPL-2.1-or-later
#include "actors.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace testing {

namespace {

std::string environment(const char* name) {
    const char* const value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody sets it
    if (value == nullptr) {
        throw std::runtime_error(std::string(name) + " is not set: run tests/host/suite");
    }
    return value;
}

int write_once(const std::filesystem::path& directory) {
    static std::atomic<int> number = 0;
    const auto file =
        directory / ("written-" + std::to_string(::getpid()) + "-" + std::to_string(++number));
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    const bool written = fd >= 0 && ::write(fd, "x", 1) == 1;
    return written ? 0 : 1;
}

} // namespace

const Subject& subject() {
    static const Subject from_environment{
        environment("LIBFREEZE_TEST_MOUNTPOINT"), environment("LIBFREEZE_TEST_TYPE"),
        environment("LIBFREEZE_TEST_DEVICE"), environment("LIBFREEZE_TEST_SPARE_DEVICE")};
    return from_environment;
}

Actor::Actor(const std::function<int()>& act) : pid_(::fork()) {
    if (pid_ < 0) {
        throw std::system_error(errno, std::system_category(), "fork");
    }
    if (pid_ == 0) {
        int result = 99;
        try {
            result = act();
        } catch (const std::exception& error) {
            (void)!::write(STDERR_FILENO, error.what(), std::string(error.what()).size());
        }
        ::_exit(result); // no destructor of the parent's objects, no output of its buffers
    }
}

Actor::~Actor() {
    if (!ended_) {
        kill();
        ends_within(1s); // it may be unkillable in D; then it is left behind
    }
}

bool Actor::ends_within(std::chrono::milliseconds time) {
    const auto deadline = Clock::now() + time;
    while (!ended_) {
        int raw = 0;
        if (::waitpid(pid_, &raw, WNOHANG) == pid_) {
            ended_ = true;
            status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
        } else if (Clock::now() >= deadline) {
            return false;
        } else {
            std::this_thread::sleep_for(2ms);
        }
    }
    return true;
}

void Actor::kill() const {
    ::kill(pid_, SIGKILL);
}

Writer::Writer(const std::filesystem::path& directory)
    : actor_([&directory] { return write_once(directory); }) {}

bool Writer::is_blocked(std::chrono::milliseconds time) {
    return !actor_.ends_within(time);
}

bool Writer::gets_through_within(std::chrono::milliseconds time) {
    return actor_.ends_within(time) && actor_.status == 0;
}

int run(const std::vector<std::string>& command) {
    Actor actor([&] {
        std::vector<char*> arguments;
        arguments.reserve(command.size() + 1);
        for (const std::string& argument : command) {
            arguments.push_back(const_cast<char*>(argument.c_str()));
        }
        arguments.push_back(nullptr);
        const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        ::dup2(null, STDOUT_FILENO);
        ::dup2(null, STDERR_FILENO);
        ::execvp(arguments[0], arguments.data());
        return 127;
    });
    return actor.ends_within(10s) ? actor.status : 255;
}

std::string stderr_of(const std::function<void()>& act) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw std::system_error(errno, std::system_category(), "pipe2");
    }
    Actor actor([&] {
        ::dup2(ends[1], STDERR_FILENO);
        act();
        return 0;
    });
    ::close(ends[1]);
    const bool ended = actor.ends_within(20s);
    std::array<char, 4096> buffer{};
    const auto length = ended ? ::read(ends[0], buffer.data(), buffer.size()) : -1;
    ::close(ends[0]);
    return length < 0 ? "did not end"
                      : std::string(buffer.data(), static_cast<std::size_t>(length));
}

} // namespace testing
