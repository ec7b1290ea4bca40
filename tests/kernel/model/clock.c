/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clock.h"
#include "../harness.h"

static const int64_t second = 1000000000;
static int soon;
static struct {
    bool running;
    int64_t earliest, latest;
} timers[PERIODS];

void clock_set(int seconds_soon) {
    soon = seconds_soon;
}

int clock_timeout(enum period period) {
    return period == LATER ? 2 * soon : soon;
}

void clock_start(enum period period, int64_t begun, int64_t ended) {
    int64_t timeout = clock_timeout(period) * second;

    if (period != SOON && period != LATER)
        return;
    if (!timers[period].running)
        timers[period].earliest = begun + timeout;
    timers[period].latest = ended + timeout;
    timers[period].running = true;
}

void clock_wait(enum period until) {
    for (int period = SOON; period <= (int)until; period++) {
        if (timers[period].running)
            sleep_until(timers[period].latest);
        timers[period].running = false;
    }
    sleep_ms((int)(600 * slowness()));
}

bool clock_is_late(int64_t now) {
    for (int period = SOON; period <= LATER; period++)
        if (timers[period].running && now >= timers[period].earliest)
            return true;
    return false;
}
