// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_kernel.hpp"

#include <libfreeze/ioctl.h>

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/sysmacros.h>

namespace testing {

using libfreeze::Clock;

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
    default:
        return "unknown request";
    }
}

} // namespace

FakeKernel::FakeKernel() {
    files = {
        {"/srv", {S_IFDIR, ext4, ext4, 0, 30}},
        {"/srv/dir", {S_IFDIR, ext4, ext4, 0, 30}},
        {"/srv/dir/file", {S_IFREG, ext4, ext4, 0, 30}},
        {"/srv/dir/fifo", {S_IFIFO, ext4, ext4, 0, 30}},
        {"/bind", {S_IFDIR, ext4, ext4, 0, 31}},
        {"/pool", {S_IFDIR, btrfs, 0x2b, 0, 40}},
        {"/pool/sub", {S_IFDIR, btrfs, 0x2c, 0, 40}},
        {"/proc", {S_IFDIR, proc, proc, 0, 50}},
        {"/dev", {S_IFDIR, devtmpfs, devtmpfs, 0, 60}},
        {"/dev/sda1", {S_IFBLK, devtmpfs, devtmpfs, ext4, 60}},
        {"/dev/sdb", {S_IFBLK, devtmpfs, devtmpfs, 0x810, 60}},
        {"/dev/sdc", {S_IFBLK, devtmpfs, devtmpfs, 0x820, 60}},
        {"/dev/null", {S_IFCHR, devtmpfs, devtmpfs, 0x103, 60}},
    };
    table = {
        {30, ext4, "/srv", "ext4", "/dev/sda1"},   {31, ext4, "/bind", "ext4", "/dev/sda1"},
        {40, btrfs, "/pool", "btrfs", "/dev/sdb"}, {50, proc, "/proc", "proc", "proc"},
        {60, devtmpfs, "/dev", "devtmpfs", "dev"},
    };
    sysfs = {
        {"/sys/dev/block/8:1/dev", "8:1\n"},    {"/sys/dev/block/8:1/partition", "1\n"},
        {"/sys/dev/block/8:1/../dev", "8:0\n"}, {"/sys/dev/block/8:0/dev", "8:0\n"},
        {"/sys/dev/block/8:16/dev", "8:16\n"},  {"/sys/fs/btrfs/2222/devices/sdb/dev", "8:16\n"},
    };
    filesystems[ext4];
    filesystems[btrfs];
    filesystems[proc].freezable = false;
    filesystems[devtmpfs].freezable = false;
    libfreeze::set_system(this);
}

FakeKernel::~FakeKernel() {
    libfreeze::set_system(nullptr);
}

void FakeKernel::mount(const std::string& path, dev_t device, const std::string& name) {
    const std::uint64_t id = 100 + table.size();
    const std::string number = std::to_string(major(device)) + ":" + std::to_string(minor(device));
    files[path] = {S_IFDIR, device, device, 0, id};
    files["/dev/" + name] = {S_IFBLK, devtmpfs, devtmpfs, device, 60};
    table.push_back({id, device, path, "ext4", "/dev/" + name});
    sysfs["/sys/dev/block/" + number + "/dev"] = number + "\n";
    filesystems[device];
}

void FakeKernel::open_as(int fd, const std::string& path) {
    descriptors_[fd] = {path, O_RDWR};
}

void FakeKernel::advance(std::chrono::nanoseconds time) {
    now_ += time;
    expire();
}

libfreeze::Clock::time_point FakeKernel::now() noexcept {
    const std::lock_guard lock(mutex_);
    if (late_reading == readings++) {
        advance(long_time);
    }
    return now_;
}

bool FakeKernel::is_frozen(dev_t superblock) {
    return filesystems.at(superblock).frozen;
}

int FakeKernel::foreign_freeze(pid_t who, dev_t superblock, std::int64_t seconds) {
    return request(who, superblock, seconds == 0 ? FIFREEZE : FIFREEZE_TIMEOUT, &seconds) == 0
               ? 0
               : errno;
}

int FakeKernel::foreign_thaw(pid_t who, dev_t superblock) {
    return request(who, superblock, FITHAW, nullptr) == 0 ? 0 : errno;
}

std::size_t FakeKernel::holds_of(pid_t who, dev_t superblock) {
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

dev_t FakeKernel::superblock_of(int fd) const {
    const auto found = descriptors_.find(fd);
    return found == descriptors_.end() ? 0 : files.at(found->second.first).superblock;
}

bool FakeKernel::fails(const std::string& name, int fd, std::int64_t argument) {
    const std::size_t number = calls.size();
    if (late_call == number) {
        advance(long_time);
    }
    bool fail = failing_call == number;
    if (failing_call && sticky && number > *failing_call) {
        fail = calls[*failing_call].name == name;
    }
    fail = fail || (failing_request && failing_request(name, superblock_of(fd)));
    calls.push_back({name, fd, argument, fail, superblock_of(fd)});
    if (fail) {
        errno = failing_errno;
    }
    return fail;
}

int FakeKernel::openat(int directory, const char* path, int flags) {
    const std::lock_guard lock(mutex_);
    if (fails("openat", directory, flags)) {
        return -1;
    }
    std::string name = path;
    if (name == "." && directory != AT_FDCWD) {
        name = descriptors_.at(directory).first;
    }
    const std::string links = "/proc/self/fd/";
    if (name.compare(0, links.size(), links) == 0) {
        const auto linked = descriptors_.find(std::stoi(name.substr(links.size())));
        name = linked == descriptors_.end() ? "" : linked->second.first;
    }
    const auto file = files.find(name);
    if (file == files.end()) {
        errno = ENOENT;
        return -1;
    }
    if ((flags & O_DIRECTORY) != 0 && !S_ISDIR(file->second.mode)) {
        errno = ENOTDIR;
        return -1;
    }
    if (const auto mounted = automounts.find(name);
        mounted != automounts.end() && (flags & O_DIRECTORY) != 0) {
        files[name] = mounted->second;
    }
    descriptors_[next_fd_] = {name, flags};
    open_files.insert(next_fd_);
    return next_fd_++;
}

int FakeKernel::close(int fd) noexcept {
    const std::lock_guard lock(mutex_);
    if (const auto guardian = guardians.find(fd); guardian != guardians.end()) {
        if (guardian->second.has_client) {
            thaw_and_end(guardian->second);
            end(guardian);
        }
    }
    return open_files.erase(fd) == 1 ? 0 : -1;
}

int FakeKernel::fstat(int fd, struct stat* status) {
    const std::lock_guard lock(mutex_);
    if (fails("fstat", fd, 0)) {
        return -1;
    }
    if (descriptors_.count(fd) == 0) {
        errno = EBADF;
        return -1;
    }
    const FakeFile& file = files.at(descriptors_.at(fd).first);
    *status = {};
    status->st_mode = file.mode;
    status->st_dev = file.st_dev;
    status->st_rdev = file.rdev;
    return 0;
}

int FakeKernel::mount_id(int fd, std::uint64_t* id) {
    const std::lock_guard lock(mutex_);
    if (fails("mount_id", fd, 0)) {
        return -1;
    }
    *id = files.at(descriptors_.at(fd).first).mount_id;
    return 0;
}

int FakeKernel::mounts(std::vector<libfreeze::Mount>* result) {
    const std::lock_guard lock(mutex_);
    if (fails("mounts", -1, 0)) {
        return -1;
    }
    *result = table;
    return 0;
}

int FakeKernel::read_file(const std::string& path, std::string* text) {
    const std::lock_guard lock(mutex_);
    const auto file = sysfs.find(path);
    if (fails("read_file", -1, 0)) {
        return -1;
    }
    if (file == sysfs.end()) {
        errno = ENOENT;
        return -1;
    }
    *text = file->second;
    return 0;
}

int FakeKernel::list_directory(const std::string& path, std::vector<std::string>* names) {
    const std::lock_guard lock(mutex_);
    if (fails("list_directory", -1, 0)) {
        return -1;
    }
    std::set<std::string> found;
    for (const auto& [file, text] : sysfs) {
        if (file.rfind(path + "/", 0) == 0) {
            const std::string rest = file.substr(path.size() + 1);
            found.insert(rest.substr(0, rest.find('/')));
        }
    }
    names->assign(found.begin(), found.end());
    errno = ENOENT;
    return found.empty() ? -1 : 0;
}

void FakeKernel::announce(const std::string& name, int fd) {
    if (on_request) {
        std::unique_lock lock(mutex_);
        const dev_t superblock = superblock_of(fd);
        lock.unlock();
        on_request(name, superblock);
    }
}

int FakeKernel::syncfs(int fd) {
    announce("syncfs", fd);
    const std::lock_guard lock(mutex_);
    return fails("syncfs", fd, 0) ? -1 : 0;
}

int FakeKernel::ioctl(int fd, unsigned long code, std::int64_t* argument) {
    announce(request_name(code), fd);
    const std::lock_guard lock(mutex_);
    if (fails(request_name(code), fd, argument == nullptr ? 0 : *argument)) {
        return -1;
    }
    const auto& [path, flags] = descriptors_.at(fd);
    if (open_files.count(fd) == 0 || (flags & O_PATH) != 0) {
        errno = EBADF;
        return -1;
    }
    return request(process, files.at(path).superblock, code, argument);
}

int FakeKernel::request(pid_t who, dev_t superblock, unsigned long code,
                        const std::int64_t* argument) {
    FakeFilesystem& filesystem = filesystems.at(superblock);
    const bool was_frozen = filesystem.frozen;
    const bool freezes = code == FIFREEZE || code == FIFREEZE_TIMEOUT;
    const std::int64_t seconds = code == FIFREEZE || argument == nullptr ? 0 : *argument;
    int error = 0;
    if (!patched) {
        error = stock_request(filesystem, code);
    } else if (freezes && !filesystem.freezable) {
        error = EOPNOTSUPP;
    } else if (seconds < 0) {
        error = ERANGE;
    } else if (freezes) {
        error = freeze(who, filesystem, seconds);
    } else if (FakeHold* const hold = chosen(who, filesystem); hold == nullptr || !hold->live) {
        if (hold != nullptr && code == FITHAW) { // reported once
            filesystem.holds.erase(filesystem.holds.begin() + (hold - filesystem.holds.data()));
        }
        error = EINVAL;
    } else if (code == FITHAW && hold->owner != who) {
        hold->live = false; // reported to its owner later
    } else if (code == FITHAW) {
        filesystem.holds.erase(filesystem.holds.begin() + (hold - filesystem.holds.data()));
    } else {
        hold->deadline = deadline_in(seconds);
    }
    settle(filesystem);
    for (const dev_t below : stacked[superblock]) {
        stuck += filesystem.frozen != was_frozen && filesystems.at(below).frozen ? 1 : 0;
    }
    errno = error;
    return error == 0 ? 0 : -1;
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

int FakeKernel::freeze(pid_t who, FakeFilesystem& filesystem, std::int64_t seconds) {
    auto& holds = filesystem.holds;
    const auto is_own = [who](const FakeHold& hold) { return hold.owner == who; };
    if (std::none_of(holds.begin(), holds.end(),
                     [&](const FakeHold& hold) { return is_own(hold) && hold.live; })) {
        holds.erase(std::remove_if(holds.begin(), holds.end(), is_own), holds.end());
    }
    filesystem.entries.insert(who);
    holds.push_back({who, true, deadline_in(seconds)});
    return 0;
}

/// The hold that FITHAW and FIFREEZE_RESET_TIMEOUT of a process affect.
FakeHold* FakeKernel::chosen(pid_t who, FakeFilesystem& filesystem) {
    const bool known = filesystem.entries.count(who) != 0;
    auto& holds = filesystem.holds;
    const auto newest = [&holds](const auto& matches) {
        const auto found = std::find_if(holds.rbegin(), holds.rend(), matches);
        return found == holds.rend() ? nullptr : &*found;
    };
    if (known) {
        return newest([who](const FakeHold& hold) { return hold.owner == who; });
    }
    FakeHold* const left =
        newest([this](const FakeHold& hold) { return hold.live && gone_.count(hold.owner) != 0; });
    return left != nullptr ? left : newest([](const FakeHold& hold) { return hold.live; });
}

void FakeKernel::expire() {
    for (auto& [device, filesystem] : filesystems) {
        for (FakeHold& hold : filesystem.holds) {
            hold.live = hold.live && (!hold.deadline || *hold.deadline > now_);
        }
        settle(filesystem);
    }
    for (auto& [channel, guardian] : guardians) {
        if (guardian.deadline && *guardian.deadline <= now_) {
            thaw_and_end(guardian);
        }
    }
}

int FakeKernel::mlockall(int flags) {
    const std::lock_guard lock(mutex_);
    return fails("mlockall", -1, flags) ? -1 : 0;
}

int FakeKernel::start_guardian(int fd, const char* /*name*/) {
    const std::lock_guard lock(mutex_);
    if (fails("start_guardian", fd, 0)) {
        return -1;
    }
    const int channel = next_fd_++;
    descriptors_[channel] = descriptors_.at(fd);
    open_files.insert(channel);
    FakeGuardian& guardian = guardians[channel];
    guardian.process = 1000 + channel;
    guardian.superblock = superblock_of(fd);
    return channel;
}

int FakeKernel::ask_guardian(int channel, const guardian_request& request, guardian_reply* reply,
                             const libfreeze::Deadline& until) {
    const std::lock_guard lock(mutex_);
    const auto guardian = guardians.find(channel);
    if (fails("ask_guardian", channel, request.operation)) {
        if (guardian != guardians.end()) { // it has died
            if (failing_errno == ECONNRESET) {
                serve(guardian->second, request);
            }
            end(guardian);
        }
        errno = failing_errno;
        return -1;
    }
    if (guardian == guardians.end()) {
        errno = EPIPE;
        return -1;
    }
    const bool blocked = blocks(guardian->second, request);
    if (until && (blocked || *until < now_)) {
        errno = ETIMEDOUT;
        return -1;
    }
    stuck += blocked ? 1 : 0;
    *reply = {serve(guardian->second, request), 0};
    if (has_ended(guardian->second, request)) {
        end(guardian);
    }
    return 0;
}

bool FakeKernel::blocks(const FakeGuardian& guardian, const guardian_request& request) {
    const auto is_blocking = [this](dev_t superblock) { return blocking.count(superblock) != 0; };
    const auto& below = stacked[guardian.superblock];
    return request.operation == GUARDIAN_THAW ? std::any_of(below.begin(), below.end(), is_blocking)
                                              : is_blocking(guardian.superblock);
}

/// Whether the guardian exits after the request.
bool FakeKernel::has_ended(const FakeGuardian& guardian, const guardian_request& request) {
    switch (request.operation) {
    case GUARDIAN_THAW:
        return !guardian.held;
    case GUARDIAN_RELEASE:
        return !guardian.deadline;
    default:
        return request.operation == GUARDIAN_RESCUE;
    }
}

void FakeKernel::kill_guardians() {
    while (!guardians.empty()) {
        end(guardians.begin());
    }
}

void FakeKernel::end(std::map<int, FakeGuardian>::iterator guardian) {
    gone_.insert(guardian->second.process);
    guardians.erase(guardian);
}

int FakeKernel::serve(FakeGuardian& guardian, const guardian_request& request) {
    switch (request.operation) {
    case GUARDIAN_FREEZE:
        return freeze_for(guardian, request.seconds);
    case GUARDIAN_RESET:
        return reset(guardian, request.seconds);
    case GUARDIAN_THAW:
        return thaw(guardian);
    case GUARDIAN_RELEASE:
        guardian.has_client = false;
        return 0;
    case GUARDIAN_RESCUE:
        return rescue(guardian);
    default:
        return 0;
    }
}

int FakeKernel::freeze_for(FakeGuardian& guardian, std::int64_t seconds) {
    const bool own_deadline = seconds != 0 && !patched;
    const auto code = seconds == 0 || own_deadline ? FIFREEZE : FIFREEZE_TIMEOUT;
    guardian.held = request(guardian.process, guardian.superblock, code, &seconds) == 0;
    guardian.deadline = own_deadline && guardian.held ? deadline_in(seconds) : std::nullopt;
    return guardian.held ? 0 : errno;
}

int FakeKernel::reset(FakeGuardian& guardian, std::int64_t seconds) {
    if (!guardian.held || guardian.ended) {
        return EINVAL;
    }
    if (patched) {
        const auto code = FIFREEZE_RESET_TIMEOUT;
        return request(guardian.process, guardian.superblock, code, &seconds) == 0 ? 0 : errno;
    }
    if (!filesystems.at(guardian.superblock).frozen) {
        guardian.ended = true;
        return EINVAL;
    }
    guardian.deadline = deadline_in(seconds);
    return 0;
}

int FakeKernel::thaw(FakeGuardian& guardian) {
    if (!guardian.held || guardian.ended) {
        return EINVAL;
    }
    const int error = request(guardian.process, guardian.superblock, FITHAW, nullptr) ? errno : 0;
    guardian.held = error != 0 && error != EINVAL;
    guardian.deadline.reset();
    return error;
}

int FakeKernel::rescue(FakeGuardian& guardian) {
    return request(guardian.process, guardian.superblock, FITHAW, nullptr) == 0 ? 0 : errno;
}

void FakeKernel::thaw_and_end(FakeGuardian& guardian) {
    thaw(guardian);
    guardian.ended = true;
    guardian.deadline.reset();
}

void FakeKernel::settle(FakeFilesystem& filesystem) {
    if (!patched) {
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
