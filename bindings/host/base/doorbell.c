#define _GNU_SOURCE
#include "base/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/eventfd.h>
#endif

int doorbell_open(struct doorbell *bell)
{
#ifdef __linux__
    bell->hears = bell->rings = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return bell->hears < 0 ? -errno : 0;
#else
    int ends[2];
    *bell = NO_DOORBELL;
    if (pipe(ends) != 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    *bell = (struct doorbell){.hears = ends[0], .rings = ends[1]};
    return 0;
#endif
}

void doorbell_close(struct doorbell *bell)
{
    if (bell->rings >= 0 && bell->rings != bell->hears)
        close(bell->rings);
    if (bell->hears >= 0)
        close(bell->hears);
    *bell = NO_DOORBELL;
}

void doorbell_ring(const struct doorbell *bell)
{
    uint64_t one = 1;
    /* It can only fail for being full, and then it is readable. */
    ssize_t wrote = write(bell->rings, &one, sizeof one);
    (void)wrote;
}

void doorbell_quiet(const struct doorbell *bell)
{
    uint64_t scratch[8]; /* an eventfd gives one, and a pipe what there is */
    while (read(bell->hears, scratch, sizeof scratch) == sizeof scratch) {}
}
