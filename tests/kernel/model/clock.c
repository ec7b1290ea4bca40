/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clock.h"
#include <sys/times.h>
#include <unistd.h>

#include "../harness.h"

static const int64_t second = 1000000000;
static int soon;
static int64_t step_begun;
static struct {
    bool running;
    int64_t earliest, latest;
    int64_t earliest_jiffies, latest_jiffies;
} timers[PERIODS];

void clock_set(int seconds_soon) {
    soon = seconds_soon;
}

int clock_timeout(enum period period) {
    return period == LATER ? 2 * soon : soon;
}

void clock_start(enum period period, int64_t begun, int64_t ended) {
    int64_t timeout = (period == TEN_MINUTES ? 600 : clock_timeout(period)) * second;

    if (period != SOON && period != LATER && period != TEN_MINUTES)
        return;
    if (!timers[period].running) {
        timers[period].earliest = begun + timeout;
        timers[period].earliest_jiffies = step_begun + timeout / 1000000;
    }
    timers[period].latest = ended + timeout;
    timers[period].latest_jiffies = clock_jiffies() + timeout / 1000000;
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

int64_t clock_jiffies(void) {
    return times(NULL) * (1000 / sysconf(_SC_CLK_TCK));
}

void clock_begin_step(void) {
    step_begun = clock_jiffies();
}

int64_t clock_step_begun(void) {
    return step_begun;
}

void clock_bounds(enum period period, int64_t* earliest, int64_t* latest) {
    *earliest = timers[period].earliest_jiffies;
    *latest = timers[period].latest_jiffies;
}
