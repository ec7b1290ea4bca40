// SPDX-License-Identifier: LGPL-2.1-or-later
#include "syscalls.hpp"

#include "no_destructor.hpp"
#include "start_guardian.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <libmount/libmount.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace libfreeze::internal {

namespace {

// Not /proc/self: a thread may have entered another mount namespace than the process.
constexpr const char* mount_table_path = "/proc/thread-self/mountinfo";

struct TableDeleter {
    void operator()(libmnt_table* table) const noexcept { mnt_unref_table(table); }
};
struct IteratorDeleter {
    void operator()(libmnt_iter* iterator) const noexcept { mnt_free_iter(iterator); }
};

std::string text(const char* maybe) {
    return maybe == nullptr ? std::string() : std::string(maybe);
}

std::vector<std::string> stores_of(libmnt_fs* line) {
    std::vector<std::string> stores;
    for (const char* const option : {"upperdir", "logdev", "rtdev", "journal_path"}) {
        char* value = nullptr;
        std::size_t length = 0;
        if (mnt_fs_get_option(line, option, &value, &length) == 0 && length > 0) {
            stores.emplace_back(value, length);
        }
    }
    return stores;
}

bool is_read_only(libmnt_fs* line) {
    const char* const options = mnt_fs_get_fs_options(line);
    return options != nullptr && mnt_optstr_get_option(options, "ro", nullptr, nullptr) == 0;
}

Mount mount_of(libmnt_fs* line) {
    return {static_cast<std::uint64_t>(mnt_fs_get_id(line)),
            mnt_fs_get_devno(line),
            text(mnt_fs_get_target(line)),
            text(mnt_fs_get_fstype(line)),
            text(mnt_fs_get_source(line)),
            text(mnt_fs_get_root(line)),
            stores_of(line),
            is_read_only(line)};
}

/// Closes after a failure, and keeps errno.
int close_keeping_errno(int fd) noexcept {
    const int error = errno;
    ::close(fd);
    errno = error;
    return -1;
}

epoll_event watched_events() noexcept {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP;
    return event;
}

std::atomic<Syscalls*> replaced{nullptr};

} // namespace

Clock::time_point Syscalls::now() noexcept {
    return Clock::now();
}

void Syscalls::sleep(std::chrono::milliseconds time) noexcept {
    std::this_thread::sleep_for(time);
}

int Syscalls::random(std::uint64_t* number) {
    return ::getrandom(number, sizeof(*number), 0) == sizeof(*number) ? 0 : -1;
}

int Syscalls::openat(int directory, const char* path, int flags) {
    return ::openat(directory, path, flags);
}

int Syscalls::close(int fd) noexcept {
    return ::close(fd);
}

int Syscalls::statx(int fd, const char* path, int flags, unsigned int mask,
                    struct ::statx* status) {
    return ::statx(fd, path, flags, mask, status);
}

int Syscalls::ioctl(int fd, unsigned long request, void* argument) {
    return ::ioctl(fd, request, argument);
}

int Syscalls::memfd(const std::string& name) {
    return ::memfd_create(name.c_str(), MFD_CLOEXEC);
}

/// The C library of Debian 11 has no functions for these.
int Syscalls::get_descriptor(pid_t process, int fd) {
    const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
    if (pidfd < 0) {
        return -1;
    }
    const auto copy = static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, fd, 0));
    const int error = errno;
    ::close(pidfd);
    errno = error;
    return copy;
}

int Syscalls::syncfs(int fd) {
    return ::syncfs(fd);
}

int Syscalls::flock(int fd, int operation) {
    return ::flock(fd, operation);
}

int Syscalls::ftruncate(int fd, off_t length) {
    return ::ftruncate(fd, length);
}

int Syscalls::unlink(const std::string& path) {
    return ::unlink(path.c_str());
}

int Syscalls::epoll(const std::vector<int>& descriptors) {
    const int fd = ::epoll_create1(EPOLL_CLOEXEC);
    for (const int descriptor : descriptors) {
        epoll_event event = watched_events();
        if (fd >= 0 && ::epoll_ctl(fd, EPOLL_CTL_ADD, descriptor, &event) != 0) {
            return close_keeping_errno(fd);
        }
    }
    return fd;
}

/// The kernel compares the open files, not only the numbers.
bool Syscalls::is_watched(int epoll, int fd) noexcept {
    epoll_event event = watched_events();
    return ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

int Syscalls::poll(pollfd* entries, nfds_t count, int timeout_ms) {
    return ::poll(entries, count, timeout_ms);
}

int Syscalls::mlockall(int flags) {
    return ::mlockall(flags);
}

int Syscalls::munlockall() {
    return ::munlockall();
}

void* Syscalls::map_wiped_on_fork(std::size_t size) {
    void* const page =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return nullptr;
    }
    if (::madvise(page, size, MADV_WIPEONFORK) != 0) {
        ::munmap(page, size);
        return nullptr;
    }
    return page;
}

int Syscalls::mounts(MountTable* table) {
    const std::unique_ptr<libmnt_table, TableDeleter> parsed(
        mnt_new_table_from_file(mount_table_path));
    const std::unique_ptr<libmnt_iter, IteratorDeleter> iterator(mnt_new_iter(MNT_ITER_FORWARD));
    if (!parsed || !iterator) {
        return -1;
    }
    table->clear();
    libmnt_fs* line = nullptr;
    while (mnt_table_next_fs(parsed.get(), iterator.get(), &line) == 0) {
        table->push_back(mount_of(line));
    }
    return 0;
}

int Syscalls::read_file(const std::string& path, std::string* content) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    std::array<char, 4096> page{};
    ssize_t length = 0;
    content->clear();
    while ((length = ::read(fd, page.data(), page.size())) > 0) {
        content->append(page.data(), static_cast<std::size_t>(length));
    }
    if (length < 0) {
        return close_keeping_errno(fd);
    }
    ::close(fd);
    return 0;
}

int Syscalls::list_directory(const std::string& path, std::vector<std::string>* names) {
    std::error_code error;
    names->clear();
    for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
         entry.increment(error)) {
        names->push_back(entry->path().filename());
    }
    errno = error.value();
    return error ? -1 : 0;
}

int Syscalls::read_link(const std::string& path, std::string* target) {
    std::array<char, 4096> buffer{};
    const ssize_t length = ::readlink(path.c_str(), buffer.data(), buffer.size());
    target->assign(buffer.data(), static_cast<std::size_t>(length < 0 ? 0 : length));
    return length < 0 ? -1 : 0;
}

int Syscalls::connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    std::memcpy(address.sun_path, path.c_str(), path.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 &&
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return close_keeping_errno(fd);
    }
    return fd;
}

ssize_t Syscalls::send(int fd, const void* data, std::size_t size, int passed) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec part{const_cast<void*>(data), size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (passed >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &passed, sizeof(int));
    }
    return ::sendmsg(fd, &message, MSG_NOSIGNAL);
}

ssize_t Syscalls::recv(int fd, void* data, std::size_t size) {
    return ::recv(fd, data, size, 0);
}

int Syscalls::shutdown(int fd) noexcept {
    return ::shutdown(fd, SHUT_RDWR);
}

int Syscalls::start_guardian() {
    return execute_guardian();
}

Syscalls& syscalls() noexcept {
    static NoDestructor<Syscalls> real;
    Syscalls* const replacement = replaced.load();
    return replacement == nullptr ? real.get() : *replacement;
}

void set_syscalls(Syscalls* replacement) noexcept {
    replaced.store(replacement);
}

} // namespace libfreeze::internal
