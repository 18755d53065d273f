/*
 * Where the next batchd finds us: the socket that we bound, at its path. Who removes it alone gets
 * it back. With its folder gone, a spawner that keeps nothing alive has nobody to keep a result
 * for; the batchd that we serve makes it again, says so, and all that was there is put there anew.
 * Nothing of this for a socket that was given to us: its owner looks after it.
 */
#ifndef DAEMON_SPAWNER_PLACE_H
#define DAEMON_SPAWNER_PLACE_H

#include <stdbool.h>

/* Listens at `socket` (borrowed for good), whose lock is lock_fd. The fd or -errno. */
int place_listen(const char *socket, int lock_fd);
/* Over an exec of ourselves: it is bound already. */
void place_take(const char *socket, int lock_fd);
/* Readable when something in the folder, or the folder, was removed or moved; -errno. Ours. */
int place_watch(void);
/* What place_watch gave is readable: a new fd to listen at, or -1: there is no need, or no way. */
int place_changed(void);
/* batchd says that the folder is there again. */
void place_ask(void);
/* Since then, once: was all that stood in the folder removed with it? */
bool place_is_asked(void);
/* The socket was ours and is not there any more. */
bool place_is_lost(void);
/* At the end: what stands there is removed if it is ours. */
void place_leave(void);

#endif
