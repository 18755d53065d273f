/*
 * Answers kept in memory, for those who ask the same again: what has ended, and a todo list that
 * nobody writes to, give the same answer each time, and looking it up costs many times what sending
 * it does. The least lately used go when there is no more room. Loop thread only.
 *
 * A key is the whole question, in bytes that no other question has (begin with the method's id). An
 * answer is good for one revision of what it shows: store_past_rev(), engine_todos_rev(). Revision
 * 0 is of what is changing now: nothing is kept for it, nor found.
 */
#ifndef DAEMON_RPC_ANSWERS_H
#define DAEMON_RPC_ANSWERS_H

#include <stdint.h>

#include "common/slice.h"

#define ANSWERS_MAX_BYTES (1u << 20)   /* all together */
#define ANSWERS_EACH_BYTES (64u << 10) /* longer ones are not kept */

struct answers;
struct shared; /* daemon/rpc/peer.h */

struct answers *answers_new(void);
struct answers *answers_free(struct answers *a); /* NULL is fine; returns NULL */
/* The packed result, borrowed until the next call of answers_keep(); NULL: it is to be made. */
struct shared *answers_find(struct answers *a, struct slice key, uint64_t rev);
/* Both are copied. `a` NULL: keeps nothing. */
void answers_keep(struct answers *a, struct slice key, uint64_t rev, struct slice result);

#endif
