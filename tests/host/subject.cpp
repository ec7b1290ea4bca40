// SPDX-License-Identifier: LGPL-2.1-or-later
#include "subject.hpp"

#include <libfreeze/freeze.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace testing {

namespace {

std::string environment(const char* name) {
    const char* const value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): nobody sets it
    if (value == nullptr) {
        throw std::runtime_error(std::string(name) + " is not set: run the suite of tests/host");
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

bool has_descriptors() {
    return libfreeze::probe(subject().mountpoint).descriptors;
}

Writer::Writer(const std::filesystem::path& directory)
    : child_([&directory] { return write_once(directory); }) {}

bool Writer::is_blocked(std::chrono::milliseconds time) {
    return !child_.ends_within(time);
}

bool Writer::succeeds_within(std::chrono::milliseconds time) {
    return child_.ends_within(time) && child_.status == 0;
}

std::string stderr_of(const std::function<void()>& work) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw std::system_error(errno, std::system_category(), "pipe2");
    }
    Child child([&] {
        ::dup2(ends[1], STDERR_FILENO);
        work();
        return 0;
    });
    ::close(ends[1]);
    const bool ended = child.ends_within(20s);
    std::array<char, 4096> buffer{};
    const auto length = ended ? ::read(ends[0], buffer.data(), buffer.size()) : -1;
    ::close(ends[0]);
    return length < 0 ? "did not end"
                      : std::string(buffer.data(), static_cast<std::size_t>(length));
}

} // namespace testing
