/*
 * A small pool of threads for what may block (file ops, cold reads): a function runs on some
 * thread, then its completion on the loop thread. With one thread it is a queue in order.
 */
#ifndef DAEMON_EXEC_WORK_H
#define DAEMON_EXEC_WORK_H

#include <stdbool.h>

struct event_base;
struct work;

typedef void (*work_fn)(void *arg);

/* `threads` workers; completions run on base's thread. Aborts when no thread can be made. */
struct work *work_new(struct event_base *base, unsigned threads);
/* Lets what was begun finish, runs no completion any more, and joins. NULL is fine; returns NULL.
 */
struct work *work_free(struct work *w);
void work_submit(struct work *w, work_fn run, work_fn done, void *arg);
/* Something was submitted that is not completed. */
bool work_is_busy(const struct work *w);

#endif
