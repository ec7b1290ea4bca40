// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_kernel.hpp"

#include "pipe_readers.hpp"
#include "sysfs.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace testing {

using libfreeze::internal::Clock;
using libfreeze::internal::number_text;
using namespace std::chrono_literals;

namespace {

constexpr auto long_time = std::chrono::hours(1);

const char* request_name(unsigned long code) {
    switch (code) {
    case FIFREEZE:
        return "FIFREEZE";
    case FITHAW:
        return "FITHAW";
    case FIFREEZE_TIMEOUT:
        return "FIFREEZE_TIMEOUT";
    case FIFREEZE_RESET_TIMEOUT:
        return "FIFREEZE_RESET_TIMEOUT";
    case FIFREEZE_FD:
        return "FIFREEZE_FD";
    case FIFREEZE_STATUS:
        return "FIFREEZE_STATUS";
    case FSFREEZE_THAW:
        return "FSFREEZE_THAW";
    case FSFREEZE_EXTEND:
        return "FSFREEZE_EXTEND";
    case FSFREEZE_KEEP:
        return "FSFREEZE_KEEP";
    case LOOP_GET_STATUS64:
        return "LOOP_GET_STATUS64";
    default:
        return "unknown request";
    }
}

int result_of(int error) {
    errno = error;
    return error == 0 ? 0 : -1;
}

bool is_below(const std::string& path, const std::string& directory) {
    return path == directory || path.compare(0, directory.size() + 1, directory + "/") == 0;
}

std::string octal(int flags) {
    std::string text;
    for (; flags != 0; flags /= 8) {
        text.insert(text.begin(), static_cast<char>('0' + flags % 8));
    }
    return "0" + text;
}

std::string proc_descriptor(pid_t process, int fd, const std::string& directory = "fd") {
    return "/proc/" + std::to_string(process) + "/" + directory + "/" + std::to_string(fd);
}

std::uint64_t inode_of_real(int fd) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

} // namespace

FakeKernel::FakeKernel() {
    files = {
        {"/", {S_IFDIR, 0x19, 0x19, 0, 1, 2}},
        {"/srv", {S_IFDIR, ext4, ext4, 0, 30, 2}},
        {"/srv/dir", {S_IFDIR, ext4, ext4, 0, 30, 3}},
        {"/srv/dir/file", {S_IFREG, ext4, ext4, 0, 30, 4}},
        {"/srv/dir/fifo", {S_IFIFO, ext4, ext4, 0, 30, 5}},
        {"/bind", {S_IFDIR, ext4, ext4, 0, 31, 3}},
        {"/pool", {S_IFDIR, btrfs, 0x2b, 0, 40, 256}},
        {"/pool/sub", {S_IFDIR, btrfs, 0x2c, 0, 40, 256}},
        {"/pool/sub/file", {S_IFREG, btrfs, 0x2c, 0, 40, 257}},
        {"/proc", {S_IFDIR, proc, proc, 0, 50, 1}},
        {"/dev", {S_IFDIR, devtmpfs, devtmpfs, 0, 60, 1}},
        {"/dev/null", {S_IFCHR, devtmpfs, devtmpfs, 0x103, 60, 4}},
    };
    table = {
        {1, 0x19, "/", "tmpfs", "none", "/"},
        {30, ext4, "/srv", "ext4", "/dev/sda1", "/"},
        {31, ext4, "/bind", "ext4", "/dev/sda1", "/dir"},
        {40, btrfs, "/pool", "btrfs", "/dev/sdb", "/"},
        {50, proc, "/proc", "proc", "proc", "/"},
        {60, devtmpfs, "/dev", "devtmpfs", "dev", "/"},
    };
    add_device(ext4, "sda1");
    add_device(0x800, "sda");
    add_device(0x810, "sdb");
    add_device(0x820, "sdc");
    texts["/sys/dev/block/8:1/partition"] = "1\n";
    texts["/sys/dev/block/8:1/../dev"] = "8:0\n";
    texts["/sys/fs/btrfs/2222/devices/sdb/dev"] = "8:16\n";
    texts["/proc/self/status"] = "Name:\tunit-tests\nFDSize:\t64\n";
    texts["/proc/filesystems"] = "nodev\tproc\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tautofs\n"
                                 "nodev\tnfs4\nnodev\tfuse\n\text4\n\tbtrfs\n";
    links["/proc/self"] = std::to_string(process);
    links["/proc/thread-self/ns/pid"] = "pid:[4026531836]";
    filesystems[ext4];
    filesystems[btrfs];
    for (const dev_t device : {dev_t{0x19}, proc, devtmpfs}) {
        filesystems[device].freezable = false;
    }
    libfreeze::internal::forget_readers();
    libfreeze::internal::set_syscalls(this);
}

FakeKernel::~FakeKernel() {
    {
        const std::lock_guard lock(mutex_);
        is_ending_ = true;
        unblocked_.notify_all();
    }
    libfreeze::internal::set_syscalls(nullptr);
    for (const int fd : open_files) {
        ::close(fd);
    }
}

void FakeKernel::add_device(dev_t device, const std::string& name) {
    const std::string directory = "/sys/dev/block/" + number_text(device);
    files["/dev/" + name] = {S_IFBLK, devtmpfs, devtmpfs, device, 60, 1000 + device};
    texts[directory + "/dev"] = number_text(device) + "\n";
    texts[directory + "/uevent"] = "MAJOR=8\nDEVNAME=" + name + "\nDEVTYPE=disk\n";
    texts["/sys/class/block/" + name + "/dev"] = number_text(device) + "\n";
}

void FakeKernel::mount(const std::string& path, dev_t device, const std::string& name,
                       const std::string& type) {
    const std::uint64_t id = 100 + table.size();
    files[path] = {S_IFDIR, device, device, 0, id, 2};
    add_device(device, name);
    table.push_back({id, device, path, type, "/dev/" + name, "/"});
    filesystems[device];
}

void FakeKernel::add_loop(dev_t device, const std::string& name, const std::string& file) {
    const FakeFile& backing = files.at(file);
    add_device(device, name);
    texts["/sys/dev/block/" + number_text(device) + "/loop/backing_file"] = file + "\n";
    loops["/dev/" + name] = {backing.st_dev, backing.inode};
}

void FakeKernel::open_as(int fd, const std::string& path, int flags) {
    descriptors_[fd] = {path, flags, files.at(path)};
}

void FakeKernel::add_process(pid_t pid, const std::string& command) {
    texts["/proc/" + std::to_string(pid) + "/comm"] = command + "\n";
}

void FakeKernel::add_descriptor(pid_t pid, int fd, const std::string& link, int flags,
                                std::uint64_t mount_id) {
    const std::string directory = "/proc/" + std::to_string(pid);
    links[directory + "/fd/" + std::to_string(fd)] = link;
    texts[directory + "/fdinfo/" + std::to_string(fd)] =
        "pos:\t0\nflags:\t" + octal(flags) + "\nmnt_id:\t" + std::to_string(mount_id) + "\n";
}

void FakeKernel::advance(std::chrono::nanoseconds time) {
    const std::lock_guard lock(mutex_);
    now_ += time;
    expire();
}

bool FakeKernel::is_frozen(dev_t superblock) {
    const std::lock_guard lock(mutex_);
    return filesystems.at(superblock).frozen;
}

int FakeKernel::foreign_freeze(pid_t who, dev_t superblock, std::int64_t seconds) {
    const std::lock_guard lock(mutex_);
    const auto code = seconds == 0 ? FIFREEZE : FIFREEZE_TIMEOUT;
    return request(who, superblock, code, &seconds) == 0 ? 0 : errno;
}

int FakeKernel::foreign_thaw(pid_t who, dev_t superblock) {
    const std::lock_guard lock(mutex_);
    return request(who, superblock, FITHAW, nullptr) == 0 ? 0 : errno;
}

std::size_t FakeKernel::holds_of(pid_t who, dev_t superblock) {
    const std::lock_guard lock(mutex_);
    const auto& holds = filesystems.at(superblock).holds;
    return static_cast<std::size_t>(
        std::count_if(holds.begin(), holds.end(),
                      [who](const FakeHold& hold) { return hold.live && hold.owner == who; }));
}

std::size_t FakeKernel::count(const std::string& name) const {
    return static_cast<std::size_t>(std::count_if(
        calls.begin(), calls.end(), [&](const Call& call) { return call.name == name; }));
}

std::vector<dev_t> FakeKernel::requested(const std::string& name) const {
    std::vector<dev_t> result;
    for (const Call& call : calls) {
        if (call.name == name) {
            result.push_back(call.superblock);
        }
    }
    return result;
}

/* ---- calls in general ------------------------------------------------------------------------ */

bool FakeKernel::fails(const std::string& name, int fd, std::int64_t argument,
                       const std::string& path) {
    const std::lock_guard lock(mutex_);
    const std::size_t number = calls.size();
    if (late_call == number) {
        advance(long_time);
    }
    bool fail = failing_call == number;
    if (failing_call && sticky && number > *failing_call) {
        fail = calls[*failing_call].name == name;
    }
    fail = fail || (failing_request && failing_request(name, superblock_of(fd)));
    calls.push_back({name, fd, argument, fail, superblock_of(fd), path});
    if (fail) {
        errno = failing_errno;
    }
    return fail;
}

void FakeKernel::announce(const std::string& name, int fd) {
    if (on_request) {
        std::unique_lock lock(mutex_);
        const dev_t superblock = superblock_of(fd);
        lock.unlock();
        on_request(name, superblock);
    }
}

const FakeDescriptor* FakeKernel::find(int fd) const {
    const auto found = descriptors_.find(fd);
    return found == descriptors_.end() ? nullptr : &found->second;
}

dev_t FakeKernel::superblock_of(int fd) const {
    const FakeDescriptor* const descriptor = find(fd);
    return descriptor == nullptr ? 0 : descriptor->file.superblock;
}

bool FakeKernel::is_dead(const std::string& path) const {
    return std::any_of(dead.begin(), dead.end(),
                       [&](const std::string& directory) { return is_below(path, directory); });
}

/* ---- time ------------------------------------------------------------------------------------ */

Clock::time_point FakeKernel::now() noexcept {
    const std::lock_guard lock(mutex_);
    if (late_reading == readings++) {
        advance(long_time);
    }
    return now_;
}

void FakeKernel::sleep(std::chrono::milliseconds time) noexcept {
    advance(time);
}

int FakeKernel::random(std::uint64_t* number) {
    if (fails("random")) {
        return -1;
    }
    const std::lock_guard lock(mutex_);
    *number = ++next_random_;
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

std::optional<FakeFile> FakeKernel::file_at(const std::string& path) const {
    if (const auto file = files.find(path); file != files.end()) {
        return file->second;
    }
    return texts.count(path) != 0 ? std::optional(FakeFile{S_IFREG, proc, proc, 0, 50, 1})
                                  : std::nullopt;
}

std::string FakeKernel::target_of(int directory, const std::string& path) const {
    const FakeDescriptor* const from = find(directory);
    return path == "." && from != nullptr ? from->path : path;
}

/// None, with errno, if there is no such file.
std::optional<FakeDescriptor> FakeKernel::look_up(int directory, const std::string& path,
                                                  int flags) {
    for (const char* const start : {"/proc/self/fd/", "/proc/thread-self/fd/"}) {
        if (path.compare(0, std::strlen(start), start) == 0) {
            const FakeDescriptor* const linked = find(std::stoi(path.substr(std::strlen(start))));
            errno = ENOENT;
            return linked == nullptr ? std::nullopt : std::optional(*linked);
        }
    }
    if (const FakeDescriptor* const from = find(directory); path == "." && from != nullptr) {
        return *from;
    }
    if (const auto mounted = automounts.find(path);
        mounted != automounts.end() && (flags & O_DIRECTORY) != 0) {
        files[path] = mounted->second;
    }
    const std::optional<FakeFile> file = file_at(path);
    errno = ENOENT;
    return file ? std::optional(FakeDescriptor{path, 0, *file}) : std::nullopt;
}

/// The descriptor is a real one, so that it can be passed to a guardian.
int FakeKernel::open_new(FakeDescriptor descriptor) {
    const int fd = ::memfd_create("fake", MFD_CLOEXEC);
    copies_[inode_of_real(fd)] = descriptor;
    descriptors_[fd] = std::move(descriptor);
    open_files.insert(fd);
    return fd;
}

int FakeKernel::openat(int directory, const char* path, int flags) {
    std::unique_lock lock(mutex_);
    const std::string name = target_of(directory, path);
    if (fails("openat", directory, flags, path)) {
        return -1;
    }
    if (is_dead(name)) {
        ++hung;
        return result_of(EIO);
    }
    std::optional<FakeDescriptor> found = look_up(directory, path, flags);
    if (!found) {
        return -1;
    }
    const mode_t type = found->file.mode & S_IFMT;
    if ((flags & O_DIRECTORY) != 0 && type != S_IFDIR) {
        return result_of(ENOTDIR);
    }
    if ((flags & O_PATH) == 0 && type != S_IFDIR && type != S_IFREG) {
        opened_specials += loops.count(found->path) == 0 ? 1 : 0;
    }
    found->flags = flags;
    const int fd = open_new(*found);
    lock.unlock();
    if (on_open) {
        on_open(name);
    }
    return fd;
}

int FakeKernel::close(int fd) noexcept {
    const std::lock_guard lock(mutex_);
    FakeFilesystem* filesystem = nullptr;
    FakeHold* const hold = hold_with(fd, &filesystem);
    if (hold != nullptr && hold->descriptor != fd) {
        hold->copies.erase(fd);
    } else if (hold != nullptr) {
        filesystem->holds.erase(filesystem->holds.begin() + (hold - filesystem->holds.data()));
        settle(*filesystem);
    }
    descriptors_.erase(fd);
    open_files.erase(fd);
    links.erase(proc_descriptor(process, fd));
    return ::close(fd);
}

int FakeKernel::memfd(const std::string& name) {
    const std::lock_guard lock(mutex_);
    if (fails("memfd")) {
        return -1;
    }
    const int fd = open_new({"/memfd:" + name + " (deleted)", O_RDWR, {}});
    links[proc_descriptor(process, fd)] = descriptors_[fd].path;
    return fd;
}

int FakeKernel::get_descriptor(pid_t who, int fd) {
    const std::lock_guard lock(mutex_);
    if (fails("get_descriptor", fd)) {
        return -1;
    }
    FakeFilesystem* filesystem = nullptr;
    FakeHold* const hold = hold_with(fd, &filesystem);
    if (who != process || hold == nullptr) {
        return result_of(EBADF);
    }
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    hold->copies.insert(copy);
    open_files.insert(copy);
    descriptors_[copy] = descriptors_[fd];
    if (replaced_on_copy) {
        descriptors_[copy].path = "/dev/sda";
    }
    return copy;
}

int FakeKernel::statx(int fd, const char* path, int flags, unsigned int /*mask*/,
                      struct ::statx* status) {
    const std::lock_guard lock(mutex_);
    if (fails("statx", fd, flags, path)) {
        return -1;
    }
    const bool by_name = *path != '\0';
    std::optional<FakeDescriptor> found;
    if (by_name) {
        found = look_up(fd, path, 0);
    } else if (const FakeDescriptor* const descriptor = find(fd)) {
        found = *descriptor;
    }
    if (!found) {
        return result_of(by_name ? ENOENT : EBADF);
    }
    hung += is_dead(found->path) && (by_name || (flags & AT_STATX_DONT_SYNC) == 0) ? 1 : 0;
    *status = {};
    status->stx_mask = STATX_TYPE | STATX_INO | (has_mount_ids ? STATX_MNT_ID : 0U);
    status->stx_mode = static_cast<__u16>(found->file.mode);
    status->stx_ino = found->file.inode;
    status->stx_mnt_id = has_mount_ids ? found->file.mount_id : 0;
    status->stx_dev_major = major(found->file.st_dev);
    status->stx_dev_minor = minor(found->file.st_dev);
    status->stx_rdev_major = major(found->file.rdev);
    status->stx_rdev_minor = minor(found->file.rdev);
    return 0;
}

int FakeKernel::get_flags(int fd) {
    const std::lock_guard lock(mutex_);
    if (fails("get_flags", fd)) {
        return -1;
    }
    const FakeDescriptor* const descriptor = find(fd);
    return descriptor == nullptr ? result_of(EBADF) : descriptor->flags;
}

int FakeKernel::socket_peer(int fd, std::uint64_t* inode) {
    const std::lock_guard lock(mutex_);
    if (fails("socket_peer", fd)) {
        return -1;
    }
    const auto peer = peers.find(fd);
    if (peer == peers.end()) {
        return result_of(ENOTCONN);
    }
    *inode = peer->second;
    return 0;
}

int FakeKernel::open_unmounted(const std::string& device, const std::string& type) {
    const std::lock_guard lock(mutex_);
    if (fails("open_unmounted", -1, 0, device + " " + type)) {
        return -1;
    }
    const auto found = unmounted.find(device);
    if (found == unmounted.end()) {
        return result_of(ENXIO);
    }
    return open_new({"/", O_RDONLY, {S_IFDIR, found->second, found->second, 0, 999, 2}});
}

int FakeKernel::flock(int fd, int operation) {
    const std::lock_guard lock(mutex_);
    if (fails("flock", fd, operation)) {
        return -1;
    }
    const FakeDescriptor* const descriptor = find(fd);
    return result_of(descriptor == nullptr                 ? EBADF
                     : locked.count(descriptor->path) != 0 ? EWOULDBLOCK
                                                           : 0);
}

int FakeKernel::ftruncate(int fd, off_t length) {
    const std::lock_guard lock(mutex_);
    if (fails("ftruncate", fd, length)) {
        return -1;
    }
    const FakeDescriptor* const descriptor = find(fd);
    if (descriptor == nullptr || texts.count(descriptor->path) == 0) {
        return result_of(EBADF);
    }
    texts[descriptor->path].resize(static_cast<std::size_t>(length));
    return 0;
}

int FakeKernel::unlink(const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (fails("unlink", -1, 0, path)) {
        return -1;
    }
    return result_of(texts.erase(path) == 0 ? ENOENT : 0);
}

int FakeKernel::mounts(libfreeze::internal::MountTable* result) {
    const std::lock_guard lock(mutex_);
    if (fails("mounts")) {
        return -1;
    }
    *result = table;
    return 0;
}

int FakeKernel::read_file(const std::string& path, std::string* text) {
    const std::lock_guard lock(mutex_);
    if (fails("read_file", -1, 0, path)) {
        return -1;
    }
    const std::string fdinfo = proc_descriptor(process, -1, "fdinfo");
    if (is_below(path, "/proc/thread-self/fdinfo") ||
        is_below(path, fdinfo.substr(0, fdinfo.rfind('/')))) {
        FakeFilesystem* filesystem = nullptr;
        const int fd = std::stoi(path.substr(path.rfind('/') + 1));
        if (const FakeHold* const hold = hold_with(fd, &filesystem)) {
            *text = hold->live ? "fsfreeze-state:\theld\n" : "fsfreeze-state:\texpired\n";
            *text += "fsfreeze-held-ms:\t" + std::to_string((now_ - hold->since) / 1ms) + "\n";
            if (hold->live && hold->deadline) {
                const auto left = (*hold->deadline - now_) / 1ms;
                *text += "fsfreeze-left-ms:\t" + std::to_string(left) + "\n";
            }
            return 0;
        }
    }
    const auto file = texts.find(path);
    if (file == texts.end()) {
        return result_of(ENOENT);
    }
    *text = file->second;
    return 0;
}

int FakeKernel::list_directory(const std::string& path, std::vector<std::string>* names) {
    const std::lock_guard lock(mutex_);
    if (fails("list_directory", -1, 0, path)) {
        return -1;
    }
    std::set<std::string> found;
    for (const auto* const all : {&texts, &links}) {
        for (const auto& [file, text] : *all) {
            if (file.compare(0, path.size() + 1, path + "/") == 0) {
                const std::string rest = file.substr(path.size() + 1);
                found.insert(rest.substr(0, rest.find('/')));
            }
        }
    }
    names->assign(found.begin(), found.end());
    return result_of(found.empty() ? ENOENT : 0);
}

int FakeKernel::read_link(const std::string& path, std::string* target) {
    const std::lock_guard lock(mutex_);
    if (fails("read_link", -1, 0, path)) {
        return -1;
    }
    if (const auto link = links.find(path); link != links.end()) {
        *target = link->second;
        return 0;
    }
    const bool is_descriptor = path.find("/self/fd/") != std::string::npos ||
                               path.find("/thread-self/fd/") != std::string::npos;
    const FakeDescriptor* const descriptor =
        is_descriptor ? find(std::stoi(path.substr(path.rfind('/') + 1))) : nullptr;
    if (descriptor == nullptr) {
        return result_of(ENOENT);
    }
    *target = descriptor->path;
    return 0;
}

/* ---- the process ----------------------------------------------------------------------------- */

int FakeKernel::mlockall(int flags) {
    return fails("mlockall", -1, flags) ? -1 : 0;
}

int FakeKernel::munlockall() {
    return fails("munlockall") ? -1 : 0;
}

void* FakeKernel::map_wiped_on_fork(std::size_t size) {
    return fails("map_wiped_on_fork") ? nullptr : Syscalls::map_wiped_on_fork(size);
}

/* ---- sockets: real ones, if any -------------------------------------------------------------- */

int FakeKernel::epoll(const std::vector<int>& descriptors) {
    if (fails("epoll")) {
        return -1;
    }
    const int fd = Syscalls::epoll(descriptors);
    const std::lock_guard lock(mutex_);
    if (fd >= 0) {
        open_files.insert(fd);
    }
    return fd;
}

/// If nothing happens soon, the clock moves instead.
int FakeKernel::poll(pollfd* entries, nfds_t count, int timeout_ms) {
    constexpr int patience_ms = 200;
    if (fails("poll", -1, timeout_ms)) {
        return -1;
    }
    const int ready =
        ::poll(entries, count, timeout_ms < 0 ? patience_ms : std::min(timeout_ms, patience_ms));
    if (ready == 0) {
        advance(std::chrono::milliseconds(std::max(timeout_ms, 0)));
    }
    return ready;
}

int FakeKernel::connect(const std::string& path) {
    return fails("connect", -1, 0, path) ? -1 : result_of(ENOENT);
}

ssize_t FakeKernel::send(int fd, const void* data, std::size_t size, int passed) {
    return fails("send", fd) ? -1 : Syscalls::send(fd, data, size, passed);
}

ssize_t FakeKernel::recv(int fd, void* data, std::size_t size) {
    return fails("recv", fd) ? -1 : Syscalls::recv(fd, data, size);
}

int FakeKernel::start_guardian() {
    return fails("start_guardian") ? -1 : result_of(ENOENT);
}

/* ---- freezing -------------------------------------------------------------------------------- */

int FakeKernel::syncfs(int fd) {
    announce("syncfs", fd);
    return fails("syncfs", fd) ? -1 : 0;
}

int FakeKernel::ioctl(int fd, unsigned long code, void* argument) {
    announce(request_name(code), fd);
    const std::lock_guard lock(mutex_);
    if (fails(request_name(code), fd)) {
        return -1;
    }
    if (code == FSFREEZE_THAW || code == FSFREEZE_EXTEND || code == FSFREEZE_KEEP) {
        return hold_request(fd, code, argument);
    }
    const FakeDescriptor* const descriptor = find(fd);
    if (descriptor == nullptr || (descriptor->flags & O_PATH) != 0) {
        return result_of(EBADF);
    }
    if (code == LOOP_GET_STATUS64) {
        return loop_status(*descriptor, argument);
    }
    return request(process, descriptor->file.superblock, code, argument);
}

int FakeKernel::loop_status(const FakeDescriptor& descriptor, void* argument) {
    const auto loop = loops.find(descriptor.path);
    if (loop == loops.end()) {
        return result_of(ENXIO);
    }
    const auto [device, inode] = loop->second;
    loop_info64 info{};
    info.lo_device =
        (minor(device) & 0xffU) | (major(device) << 8U) | ((minor(device) & ~0xffU) << 12U);
    info.lo_inode = inode;
    std::memcpy(argument, &info, sizeof(info));
    return 0;
}

int FakeKernel::guardian_ioctl(int fd, unsigned long code, void* argument, pid_t who) {
    std::unique_lock lock(mutex_);
    const auto copy = copies_.find(inode_of_real(fd));
    if (copy == copies_.end()) {
        return result_of(EBADF);
    }
    const dev_t superblock = copy->second.file.superblock;
    if (on_request) {
        lock.unlock();
        on_request(request_name(code), superblock);
        lock.lock();
    }
    if (code == FIFREEZE || code == FIFREEZE_TIMEOUT) {
        unblocked_.wait(lock, [&] { return is_ending_ || blocking_.count(superblock) == 0; });
        if (is_ending_) {
            return result_of(EINTR);
        }
    }
    if (failing_request && failing_request(request_name(code), superblock)) {
        return result_of(failing_errno);
    }
    return request(who, superblock, code, argument);
}

void FakeKernel::block(dev_t superblock) {
    const std::lock_guard lock(mutex_);
    blocking_.insert(superblock);
}

void FakeKernel::unblock(dev_t superblock) {
    const std::lock_guard lock(mutex_);
    blocking_.erase(superblock);
    unblocked_.notify_all();
}

void FakeKernel::exit_process(pid_t who) {
    const std::lock_guard lock(mutex_);
    gone_.insert(who);
}

int FakeKernel::request(pid_t who, dev_t superblock, unsigned long code, void* argument) {
    FakeFilesystem& filesystem = filesystems[superblock];
    const bool was_frozen = filesystem.frozen;
    if (code == FIFREEZE_FD || code == FIFREEZE_STATUS) {
        return part_three(superblock, code, argument);
    }
    const bool has_time = code == FIFREEZE_TIMEOUT || code == FIFREEZE_RESET_TIMEOUT;
    std::int64_t seconds = 0;
    if (has_time && argument != nullptr) {
        std::memcpy(&seconds, argument, sizeof(seconds));
    }
    const int error = patches == Patches::none ? stock_request(filesystem, code)
                                               : patched_request(who, filesystem, code, seconds);
    settle(filesystem);
    for (const dev_t below : stacked[superblock]) {
        stuck += filesystem.frozen != was_frozen && filesystems.at(below).frozen ? 1 : 0;
    }
    return result_of(error);
}

int FakeKernel::stock_request(FakeFilesystem& filesystem, unsigned long code) {
    if (code != FIFREEZE && code != FITHAW) {
        return ENOTTY;
    }
    if (code == FIFREEZE && !filesystem.freezable) {
        return EOPNOTSUPP;
    }
    if (filesystem.frozen == (code == FIFREEZE)) {
        return code == FIFREEZE ? EBUSY : EINVAL;
    }
    filesystem.frozen = !filesystem.frozen;
    filesystem.thaws += filesystem.frozen ? 0 : 1;
    return 0;
}

int FakeKernel::patched_request(pid_t who, FakeFilesystem& filesystem, unsigned long code,
                                std::int64_t seconds) {
    const bool freezes = code == FIFREEZE || code == FIFREEZE_TIMEOUT;
    if (!freezes && code != FITHAW && code != FIFREEZE_RESET_TIMEOUT) {
        return ENOTTY;
    }
    if (freezes && !filesystem.freezable) {
        return EOPNOTSUPP;
    }
    if (seconds < 0) {
        return ERANGE;
    }
    if (freezes) {
        return freeze(who, filesystem, seconds);
    }
    if (code == FITHAW) {
        return thaw(who, filesystem);
    }
    FakeHold* const hold = chosen(who, filesystem);
    if (hold == nullptr || !hold->live) {
        return EINVAL;
    }
    hold->deadline = deadline_in(seconds);
    return 0;
}

int FakeKernel::freeze(pid_t who, FakeFilesystem& filesystem, std::int64_t seconds) {
    auto& holds = filesystem.holds;
    const auto is_own = [who](const FakeHold& hold) {
        return hold.owner == who && hold.descriptor < 0;
    };
    if (std::none_of(holds.begin(), holds.end(),
                     [&](const FakeHold& hold) { return is_own(hold) && hold.live; })) {
        holds.erase(std::remove_if(holds.begin(), holds.end(), is_own), holds.end());
    }
    filesystem.entries.insert(who);
    holds.push_back({who, true, deadline_in(seconds), -1, {}, {}, now_});
    return 0;
}

int FakeKernel::thaw(pid_t who, FakeFilesystem& filesystem) {
    FakeHold* const hold = chosen(who, filesystem);
    if (hold == nullptr) {
        return EINVAL;
    }
    const bool was_live = hold->live;
    const bool is_own = hold->owner == who && hold->descriptor < 0;
    if (was_live && !is_own) {
        end(*hold); // reported to its owner later
    } else {
        filesystem.holds.erase(filesystem.holds.begin() + (hold - filesystem.holds.data()));
    }
    return was_live ? 0 : EINVAL;
}

/// The hold that FITHAW and FIFREEZE_RESET_TIMEOUT of a process affect.
FakeHold* FakeKernel::chosen(pid_t who, FakeFilesystem& filesystem) {
    auto& holds = filesystem.holds;
    const auto newest = [&holds](const auto& matches) {
        const auto found = std::find_if(holds.rbegin(), holds.rend(), matches);
        return found == holds.rend() ? nullptr : &*found;
    };
    if (filesystem.entries.count(who) != 0) {
        return newest(
            [who](const FakeHold& hold) { return hold.owner == who && hold.descriptor < 0; });
    }
    FakeHold* const left = newest([this](const FakeHold& hold) {
        return hold.live && hold.descriptor < 0 && gone_.count(hold.owner) != 0;
    });
    return left != nullptr ? left : newest([](const FakeHold& hold) { return hold.live; });
}

int FakeKernel::part_three(dev_t superblock, unsigned long code, void* argument) {
    FakeFilesystem& filesystem = filesystems[superblock];
    if (patches != Patches::all) {
        return result_of(ENOTTY);
    }
    if (!filesystem.freezable) {
        return result_of(EOPNOTSUPP);
    }
    return code == FIFREEZE_FD
               ? freeze_fd(superblock, *static_cast<const fsfreeze_args*>(argument))
               : result_of(report_status(filesystem, static_cast<fsfreeze_status*>(argument)));
}

int FakeKernel::freeze_fd(dev_t superblock, const fsfreeze_args& arguments) {
    if (arguments.flags != 0 || arguments.reserved != 0) {
        return result_of(EINVAL);
    }
    if (blocking_.count(superblock) != 0 && arguments.acquire_timeout_ms != 0) {
        advance(std::chrono::milliseconds(arguments.acquire_timeout_ms));
        return result_of(ETIMEDOUT);
    }
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    open_files.insert(fd);
    descriptors_[fd] = {"anon_inode:[fsfreeze]", O_RDWR, {0, superblock, superblock, 0, 0, 0}};
    links[proc_descriptor(process, fd)] = descriptors_[fd].path;
    FakeHold hold{process, true, std::nullopt, fd, {}, arguments.comment, now_};
    if (arguments.timeout_ms != 0) {
        hold.deadline = now_ + std::chrono::milliseconds(arguments.timeout_ms);
    }
    filesystems[superblock].holds.push_back(hold);
    settle(filesystems[superblock]);
    return fd;
}

int FakeKernel::report_status(FakeFilesystem& filesystem, fsfreeze_status* status) {
    const auto milliseconds = [](Clock::duration time) {
        return static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
    };
    auto* const holders = reinterpret_cast<fsfreeze_holder*>(status->holders);
    std::uint32_t number = 0;
    status->state = filesystem.frozen ? 2 : 0;
    for (const FakeHold& hold : filesystem.holds) {
        if (!hold.live) {
            continue;
        }
        fsfreeze_holder holder{};
        holder.pid = hold.owner;
        holder.flags = hold.descriptor >= 0 ? 1 : (gone_.count(hold.owner) != 0 ? 2 : 0);
        holder.holds = 1;
        holder.age_ms = milliseconds(now_ - hold.since);
        holder.left_ms = hold.deadline ? milliseconds(*hold.deadline - now_) : ~std::uint64_t{0};
        const auto command = commands.find(hold.owner);
        std::strncpy(holder.comm, command == commands.end() ? "holder" : command->second.c_str(),
                     sizeof(holder.comm) - 1);
        std::strncpy(holder.comment, hold.comment.c_str(), sizeof(holder.comment) - 1);
        status->frozen_ms = std::max<std::uint64_t>(status->frozen_ms, holder.age_ms);
        if (holders != nullptr && number < status->nr_holders) {
            holders[number] = holder;
        }
        ++number;
    }
    status->holds = number;
    status->nr_holders = number;
    return 0;
}

FakeHold* FakeKernel::hold_with(int fd, FakeFilesystem** filesystem) {
    for (auto& [device, candidate] : filesystems) {
        for (FakeHold& hold : candidate.holds) {
            if (hold.descriptor == fd || hold.copies.count(fd) != 0) {
                *filesystem = &candidate;
                return &hold;
            }
        }
    }
    return nullptr;
}

int FakeKernel::hold_request(int fd, unsigned long code, const void* argument) {
    FakeFilesystem* filesystem = nullptr;
    FakeHold* const hold = hold_with(fd, &filesystem);
    if (hold == nullptr || !hold->live) {
        return result_of(open_files.count(fd) == 0 ? EBADF : ESTALE);
    }
    if (code == FSFREEZE_THAW) {
        hold->live = false;
        settle(*filesystem);
    } else if (code == FSFREEZE_KEEP) {
        hold->descriptor = -1;
        filesystem->entries.insert(process);
    } else {
        std::uint64_t milliseconds = 0;
        std::memcpy(&milliseconds, argument, sizeof(milliseconds));
        hold->deadline = milliseconds == 0
                             ? std::nullopt
                             : std::optional(now_ + std::chrono::milliseconds(milliseconds));
    }
    return 0;
}

/// Early: its holder is told.
void FakeKernel::end(FakeHold& hold) {
    hold.live = false;
    if (hold.descriptor >= 0) {
        ::eventfd_write(hold.descriptor, 1);
    }
}

void FakeKernel::expire() {
    for (auto& [device, filesystem] : filesystems) {
        for (FakeHold& hold : filesystem.holds) {
            if (hold.live && hold.deadline && *hold.deadline <= now_) {
                end(hold);
            }
        }
        settle(filesystem);
    }
}

void FakeKernel::settle(FakeFilesystem& filesystem) {
    if (patches == Patches::none) {
        return;
    }
    const bool before = filesystem.frozen;
    filesystem.frozen = std::any_of(filesystem.holds.begin(), filesystem.holds.end(),
                                    [](const FakeHold& hold) { return hold.live; });
    filesystem.thaws += before && !filesystem.frozen ? 1 : 0;
}

std::optional<Clock::time_point> FakeKernel::deadline_in(std::int64_t seconds) const {
    if (seconds < 2) {
        return std::nullopt;
    }
    return now_ + std::chrono::seconds(seconds);
}

} // namespace testing
