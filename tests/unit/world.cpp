// SPDX-License-Identifier: LGPL-2.1-or-later
#include "world.hpp"

#include "guardian/guardian.h"
#include "guardian/protocol.h"
#include "guardian/syscalls.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <sys/socket.h>
#include <unistd.h>

using libfreeze::internal::Clock;
using libfreeze::internal::Syscalls;

namespace testing {

namespace {

World* current_world = nullptr;

std::string make_directory() {
    std::string name = std::filesystem::temp_directory_path() / "libfreeze-unit.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
        throw std::system_error(errno, std::system_category(), name);
    }
    return name;
}

} // namespace

World::World(Patches which) : directory_(make_directory()) {
    patches = which;
    links["/proc/thread-self/ns/pid"] = "pid:[4026531836]";
    ::setenv("LIBFREEZE_RUNTIME_DIR", directory_.c_str(), 1); // NOLINT(concurrency-mt-unsafe)
    commands[guardian_process] = "libfreeze-guardian";
    current_world = this;
    if (patches == Patches::all) {
        run_clock();
    }
}

World::~World() {
    for (std::thread& guardian : guardians_) {
        guardian.join();
    }
    stop_clock();
    current_world = nullptr;
    ::unsetenv("LIBFREEZE_RUNTIME_DIR"); // NOLINT(concurrency-mt-unsafe)
    std::filesystem::remove_all(directory_);
}

void World::stop_clock() {
    is_clock_stopped_ = true;
    if (clock_.joinable()) {
        clock_.join();
    }
}

void World::run_clock() {
    clock_ = std::thread([this] {
        for (auto before = Clock::now(); !is_clock_stopped_;) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            const auto now = Clock::now();
            advance(now - before);
            before = now;
        }
    });
}

World& World::current() {
    return *current_world;
}

bool World::is_soon(bool frozen, dev_t superblock) {
    constexpr std::chrono::seconds longest{5};
    const auto until = Clock::now() + longest;
    while (is_frozen(superblock) != frozen && Clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return is_frozen(superblock) == frozen;
}

Clock::time_point World::now() noexcept {
    return Clock::now();
}

void World::sleep(std::chrono::milliseconds time) noexcept {
    constexpr int faster = 50; // what is waited for is in this process
    std::this_thread::sleep_for(std::chrono::microseconds(time) / faster);
}

bool World::is_ours(const std::string& path) const {
    return path.compare(0, directory_.size(), directory_) == 0;
}

int World::connect(const std::string& path) {
    const bool is_host = path == directory_ + "/" + GUARDIAN_HOST_SOCKET;
    if (fails("connect", -1, 0, path)) {
        return -1;
    }
    if (is_host && has_host_socket) {
        return run_guardian();
    }
    return Syscalls::connect(path);
}

int World::start_guardian() {
    return fails("start_guardian") ? -1 : run_guardian();
}

int World::run_guardian() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
        return -1;
    }
    const std::lock_guard lock(mutex_);
    guardians_.emplace_back(
        [this, channel = ends[1]] { guardian_run(channel, directory_.c_str()); });
    return ends[0];
}

int World::openat(int directory, const char* path, int flags) {
    return is_ours(path) ? Syscalls::openat(directory, path, flags)
                         : FakeKernel::openat(directory, path, flags);
}

int World::statx(int fd, const char* path, int flags, unsigned int mask, struct ::statx* status) {
    return is_ours(path) ? Syscalls::statx(fd, path, flags, mask, status)
                         : FakeKernel::statx(fd, path, flags, mask, status);
}

int World::flock(int fd, int operation) {
    return Syscalls::flock(fd, operation);
}

int World::ftruncate(int fd, off_t length) {
    return Syscalls::ftruncate(fd, length);
}

int World::unlink(const std::string& path) {
    return Syscalls::unlink(path);
}

int World::read_file(const std::string& path, std::string* text) {
    return is_ours(path) ? Syscalls::read_file(path, text) : FakeKernel::read_file(path, text);
}

int World::list_directory(const std::string& path, std::vector<std::string>* names) {
    return is_ours(path) ? Syscalls::list_directory(path, names)
                         : FakeKernel::list_directory(path, names);
}

} // namespace testing

// The guardians' system calls: real, except that they freeze the fake kernel's filesystems, and
// that they believe to be root.
extern "C" {
int real_sys_fstat(int fd, struct stat* status);
int real_sys_peer(int fd, struct ucred* peer);

int sys_ioctl(int fd, unsigned long request, void* argument) {
    return testing::World::current().guardian_ioctl(fd, request, argument,
                                                    testing::World::guardian_process);
}

uid_t sys_geteuid(void) {
    return 0;
}

int sys_is_admin(pid_t /*pid*/) {
    return 1;
}

int sys_outlives_namespaces(void) {
    return testing::World::current().in_initial_namespace ? 1 : 0;
}

int sys_fstat(int fd, struct stat* status) {
    const int result = real_sys_fstat(fd, status);
    status->st_uid = 0;
    return result;
}

int sys_peer(int fd, struct ucred* peer) {
    const int result = real_sys_peer(fd, peer);
    peer->uid = 0;
    return result;
}
}
