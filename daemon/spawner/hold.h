/*
 * STARTs that are held until another attempt has ended well (struct sw_after), so that one command
 * follows another without batchd being asked in between. Nothing of them is in the table: they are
 * forgotten with the connection that brought them.
 */
#ifndef DAEMON_SPAWNER_HOLD_H
#define DAEMON_SPAWNER_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/spawner/start.h"

/* The next START of `token` comes after `after`. */
void hold_next(uint64_t token, uint64_t after);
/* As keep_start, for every START: held, or begun now where it need not wait. */
bool hold_start(const struct sw_start *start, struct start_fds *fds,
		struct child_error *ret_why) _must_check_;
/* Gives it back as BUSY, if it is held. */
void hold_recall(uint64_t token);
/* Those whose turn has come, or never will; once a turn, after keep_turn. */
void hold_turn(void);
/* Drops all; `tell`: they are answered BUSY. */
void hold_drop(bool tell);

#endif
