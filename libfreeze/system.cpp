// SPDX-License-Identifier: LGPL-2.1-or-later
#include "system.hpp"

#include "guardian_spawn.hpp"
#include "immortal.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>

#include <fcntl.h>
#include <libmount/libmount.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace libfreeze {

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
    for (const char* const option : {"upperdir", "logdev", "rtdev"}) {
        char* value = nullptr;
        std::size_t length = 0;
        if (mnt_fs_get_option(line, option, &value, &length) == 0 && length > 0) {
            stores.emplace_back(value, length);
        }
    }
    return stores;
}

Mount mount_of(libmnt_fs* line) {
    return {static_cast<std::uint64_t>(mnt_fs_get_id(line)),
            mnt_fs_get_devno(line),
            text(mnt_fs_get_target(line)),
            text(mnt_fs_get_fstype(line)),
            text(mnt_fs_get_source(line)),
            stores_of(line)};
}

std::atomic<System*> replaced_system{nullptr};

} // namespace

int System::openat(int directory, const char* path, int flags) {
    return ::openat(directory, path, flags);
}

int System::close(int fd) noexcept {
    return ::close(fd);
}

int System::fstat(int fd, struct stat* status) {
    return ::fstat(fd, status);
}

int System::ioctl(int fd, unsigned long request, std::int64_t* argument) {
    return ::ioctl(fd, request, argument);
}

int System::syncfs(int fd) {
    return ::syncfs(fd);
}

pid_t System::getpid() noexcept {
    return ::getpid();
}

Clock::time_point System::now() noexcept {
    return Clock::now();
}

int System::mount_id(int fd, std::uint64_t* id) {
    struct statx status {};
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) != 0) {
        return -1;
    }
    if ((status.stx_mask & STATX_MNT_ID) == 0) {
        errno = ENOSYS;
        return -1;
    }
    *id = status.stx_mnt_id;
    return 0;
}

int System::mounts(std::vector<Mount>* table) {
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

int System::read_file(const std::string& path, std::string* text) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    std::array<char, 4096> page{}; // no file in sysfs has more
    const ssize_t length = ::read(fd, page.data(), page.size());
    const int error = errno;
    ::close(fd);
    errno = error;
    text->assign(page.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    return length < 0 ? -1 : 0;
}

int System::list_directory(const std::string& path, std::vector<std::string>* names) {
    std::error_code error;
    names->clear();
    for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
         entry.increment(error)) {
        names->push_back(entry->path().filename());
    }
    errno = error.value();
    return error ? -1 : 0;
}

int System::mlockall(int flags) {
    return ::mlockall(flags);
}

int System::start_guardian(int fd, const char* name) {
    return spawn_guardian(fd, name);
}

int System::ask_guardian(int channel, const guardian_request& request, guardian_reply* reply,
                         const Deadline& until) {
    return libfreeze::ask_guardian(channel, request, reply, until);
}

System& the_system() noexcept {
    System* const replacement = replaced_system.load();
    return replacement == nullptr ? immortal<System>() : *replacement;
}

void set_system(System* replacement) noexcept {
    replaced_system.store(replacement);
}

} // namespace libfreeze
