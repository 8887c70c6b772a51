/* Preloaded into processes, it shifts the calendar clock of each by a constant of its own, at most CLOCK_ERROR_MILLIS
   either way. Other clocks are unaffected. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t error_millis(void) {
    const char *most = getenv("CLOCK_ERROR_MILLIS");
    int64_t limit = most ? atoll(most) : 0;
    /* Process ids are nearly consecutive; the factor spreads them. */
    uint32_t spread = (uint32_t)getpid() * 2654435761u;
    return (int64_t)(spread % (uint64_t)(2 * limit + 1)) - limit;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME) {
        int64_t millis = time->tv_nsec / 1000000 + error_millis();
        int64_t seconds = millis / 1000 - (millis % 1000 < 0);
        time->tv_sec += seconds;
        time->tv_nsec = (millis - seconds * 1000) * 1000000 + time->tv_nsec % 1000000;
    }
    return result;
}
