/*
 * A descriptor that is readable once another thread has rung it, for a thread that polls.
 */
#ifndef PYSTACK_HOST_DOORBELL_H
#define PYSTACK_HOST_DOORBELL_H

/* An eventfd, or both ends of a pipe; -1: there is none. */
struct doorbell {
    int hears, rings;
};

#define NO_DOORBELL ((struct doorbell){-1, -1})

/* 0, or -errno (-EMFILE), and there is none. */
int doorbell_open(struct doorbell *bell);
/* May be called again. */
void doorbell_close(struct doorbell *bell);
/* Nothing where it is readable already. */
void doorbell_ring(const struct doorbell *bell);
/* However often it was rung. */
void doorbell_quiet(const struct doorbell *bell);

#endif
