/*
 * The todo lists of contract section 1, in memory: pure logic, no SQL, no sockets, no clock (the
 * caller brings now_ms). Loop thread only.
 *
 * A write is checked whole before it changes anything. It then changes the memory at once and puts
 * its rows and its event into the caller's transaction; the caller holds back answer and event
 * until that is durable. Should it fail, the caller throws the list away (todos_list_reset) and
 * loads it again from the store; writes to the list that were made on top of the lost one fail too
 * (the store refuses a revision that does not follow the stored one), so that nothing half-stays.
 *
 * One write is one revision of its list and one event, also when it changed nothing (its arrays are
 * empty then): its answer says that what it asked for is durable, and so it must stand in line like
 * any other.
 *
 * Functions returning int: 0 fine, 1 refused with err filled (E_PARAMS, E_UTF8, E_LIMIT,
 * E_NOT_FOUND, E_CONFLICT, E_STATE) and nothing changed.
 */
#ifndef DAEMON_ENGINE_TODO_H
#define DAEMON_ENGINE_TODO_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"
#include "daemon/record.h"
#include "daemon/txn.h"
#include "proto/batch.h"
#include "proto/pack.h"
#include "proto/todo_item.h"

struct todos;

struct todos *todos_new(void);
struct todos *todos_free(struct todos *t); /* NULL is fine; returns NULL */

/* --- loading, at start-up and after a commit that failed --- */

/* Takes a stored item (copied). Of removed ones only the id is remembered, so that a made id is
 * never given twice. */
void todos_load(struct todos *t, const struct todo_row *row);
/* The list's newest stored revision; makes the list known also when it has no items. */
void todos_load_rev(struct todos *t, const char *list, int64_t rev);
/* Forgets what memory has of the list; load it anew before the next write. */
void todos_list_reset(struct todos *t, const char *list);

/* --- looking --- */

int64_t todos_rev(const struct todos *t, const char *list); /* 0: no such list */
bool todos_has(const struct todos *t, const char *list, struct slice id);
/* The item as a row, valid until the next write; NULL: none. */
const struct todo_row *todos_get(const struct todos *t, const char *list, struct slice id);

struct todo_filter {
	uint32_t status_mask; /* bits 1 << enum todo_status; 0: all */
	bool ready; /* only pending items whose blocked_by are all completed, in the order to take
		       them */
	struct slice owner;	/* SLICE_NONE: anyone's */
	uint32_t offset, limit; /* of what is taken: pass over so many, then so many (0: all) */
	size_t max_bytes;	/* end before the packed bytes are more than this; 0: no end */
};
#define TODO_FILTER_ALL                                                                            \
	{                                                                                          \
		.status_mask = 0                                                                   \
	}
/*
 * Writes one array of items: by position; with `ready` those without error first, then by priority,
 * then by position. Returns the offset of the first that was taken but not written, 0: there is
 * none.
 */
uint32_t todos_pack(const struct todos *t, const char *list, const struct todo_filter *filter,
		    struct pk *pk);
/* Writes one item as a map, contract section 3's shape; also used for what is stored in events. */
void todo_pack(struct pk *pk, const struct todo_row *row);
/* The same backwards, for items that todo_pack wrote. row borrows from `item` and from `strings`,
 * which is emptied first. */
void todo_unpack(struct slice item, struct buf *strings, struct todo_row *ret);

struct todo_list_info {
	const char *list;
	int64_t rev;
	uint32_t total, count[TODO_STATUS_MAX];
};
/* One list; false: it never had items. */
bool todos_list_info(const struct todos *t, const char *list, struct todo_list_info *ret);
/* Every list that has or ever had items, by name, from the one after `after` (NULL: the first)
 * until fn returns false. */
void todos_each_list(const struct todos *t, const char *after,
		     bool (*fn)(void *arg, const struct todo_list_info *info), void *arg);

/* --- writing --- */

/* What a write did. TODO_CHANGE_INIT before, todo_change_done after. Packed arrays are whole
 * msgpack values. */
struct todo_change {
	char *list, *source; /* source: NULL where there is none */
	int64_t rev, time;
	uint64_t run;
	struct buf before,
		after; /* the changed items: made ones only in after, removed ones only in before */
	struct buf todos;  /* the items the write named, in the order written; update and the like:
			      one */
	struct buf others; /* all others of the list (todos_write only, else empty) */
	struct buf warnings; /* array of str */
	bool nothing;	     /* todos_claim found nothing ready: no revision, no event, an empty
				transaction */
};
#define TODO_CHANGE_INIT                                                                           \
	{                                                                                          \
		.list = NULL                                                                       \
	}
void todo_change_done(struct todo_change *c);

/* Who writes to what, and when; for every write. */
struct todo_by {
	const char *list;
	const char *source; /* NULL: none */
	bool all_sources;   /* replace: whosever they are; made ones are source's */
	bool has_base_rev;  /* then E_CONFLICT unless base_rev is the list's revision */
	int64_t base_rev;
	uint64_t run;	/* whose op this is, 0: none */
	int64_t now_ms; /* wall clock */
};

/*
 * todo.write and the `todos` op. items: a raw array, scanned. Replace removes the items of
 * by->source that are not named (by->all_sources: all that are not named); an item named by its id
 * becomes by->source's, but for all_sources, where it stays whose it is. What an item does not say
 * stays as it was; an empty string or array clears.
 */
int todos_write(struct todos *t, const struct todo_by *by, struct slice items, enum todos_mode mode,
		struct txn *txn, struct todo_change *ret, struct err *e) _must_check_;
/*
 * todo.update: the item that item->id names gets the fields that are given. meta is laid over what
 * is there key by key; a nil value removes a key, an empty map all of them (in todos_write too).
 */
int todos_update(struct todos *t, const struct todo_by *by, const struct todo_item *item,
		 struct txn *txn, struct todo_change *ret, struct err *e) _must_check_;

struct todo_claim {
	struct slice id;    /* SLICE_NONE: the first that is ready (or whose lease is over) and not
			       somebody else's */
	struct slice owner; /* required */
	int64_t lease_ms;   /* 0: none */
};
/*
 * The item gets owner, lease and in_progress. By id: refused while another owner holds it
 * (E_CONFLICT naming him), while it is blocked, or when completed or cancelled (E_STATE); the
 * owner's own claim again renews the lease. Without id and nothing to take: 0 with ret->nothing.
 */
int todos_claim(struct todos *t, const struct todo_by *by, const struct todo_claim *c,
		struct txn *txn, struct todo_change *ret, struct err *e) _must_check_;
/* Back to pending, without owner and lease. `owner` where given must be the holder. E_STATE when
 * nobody holds it. */
int todos_release(struct todos *t, const struct todo_by *by, struct slice id, struct slice owner,
		  struct txn *txn, struct todo_change *ret, struct err *e) _must_check_;
/* Softly. ret->todos has the item as it was. */
int todos_remove(struct todos *t, const struct todo_by *by, struct slice id, struct txn *txn,
		 struct todo_change *ret, struct err *e) _must_check_;
/* Makes the list what it was at revision `rev`: `items` is the packed array sql_todo_at gave for
 * it. ret->todos: the whole list. */
int todos_restore(struct todos *t, const struct todo_by *by, int64_t rev, struct slice items,
		  struct txn *txn, struct todo_change *ret, struct err *e) _must_check_;

/* --- leases: what is claimed for a time goes back to pending, without owner, when that is over ---
 */

/*
 * By how much the wall clock has been set since the lists were made: a lease takes as long as it
 * was to take. Before each use of t in which time plays a part.
 */
void todos_clock_was_set(struct todos *t, int64_t by_ms);
/* Wall clock, ms, of the next lease to end; INT64_MAX: none. */
int64_t todos_next_lease(const struct todos *t);
/* Gives back the items of one list whose leases are over: a write of nobody's. False: there are
 * none (any more). */
bool todos_end_leases(struct todos *t, int64_t now_ms, struct txn *txn, struct todo_change *ret);

/* --- ops that drive items: called by the engine. True: something changed and ret is filled; false:
 * nothing to do --- */

/* An op of by->run with `todo: id` starts: to in_progress, unless someone else changed the item
 * since this run first moved it. A lease ends with it: from here on the run gives the item back. */
bool todos_op_started(struct todos *t, const struct todo_by *by, struct slice id, struct txn *txn,
		      struct todo_change *ret);
/*
 * An op of by->run that drives the item ended. error NULL: all ops of the run that drive it have
 * succeeded: completed. Else: back to pending with that error (the first one stays). Only where the
 * item's last change was this run's.
 */
bool todos_op_ended(struct todos *t, const struct todo_by *by, struct slice id, const char *error,
		    struct txn *txn, struct todo_change *ret);

#endif
