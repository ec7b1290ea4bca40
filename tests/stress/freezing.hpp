/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests, and the conditions that must hold while they keep the filesystem frozen. */
#ifndef FREEZING_HPP
#define FREEZING_HPP

#include <cstdint>

#include "shared.hpp"

/* 0 or an errno. A timeout of 0 is a plain FIFREEZE. */
int freeze(int fd, int timeout);
int thaw(int fd);
int reset(int fd, int timeout);

/* The time from a freeze to look(), in which nothing may have been written. */
class Window {
public:
    Window();
    void look();
    /* Call it once it is certain that the filesystem was frozen all the time. */
    void judge(const char* by, Broken write_kind, Broken device_kind) const;

private:
    uint64_t written_, now_written_ = 0;
    int64_t begun_, latest_ = 0, looked_ = 0;
    bool waited_ = false;
};

#endif
