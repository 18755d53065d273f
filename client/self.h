/*
 * batchctl, called by itself with another verb: what that verb says and does is said once. The
 * words of argv follow the socket; NULL ends them.
 */
#ifndef CLIENT_SELF_H
#define CLIENT_SELF_H

#include "client/ctx.h"

/* Runs it in the foreground of our terminal, with no signal blocked. What would end us (from the
 * signalfd) ends it, and ends us afterwards: it is in the signalfd again; ^Z stops us with it. Its
 * exit status, 128+N for a signal. */
int self_run(struct ctx *c, const char *const *argv, int signal_fd);
/* The same with nothing on stdin; what it says on stdout and stderr is appended. */
int self_capture(struct ctx *c, const char *const *argv, struct buf *said);
/* Prompts for Enter, as which a blank and q are taken, too; a signal in the signalfd ends that as
 * well. Keys and ^C and the like of before are dropped. */
void self_pause(int signal_fd, const char *prompt);

#endif
