/*
 * Lists of things with names, told by name in pages: `next` is the last name that was sent where
 * more follow, and `after` of the next call.
 */
#ifndef DAEMON_RPC_PAGE_H
#define DAEMON_RPC_PAGE_H

#include "common/buf.h"
#include "proto/limits.h"
#include "proto/pack.h"

struct page {
	struct pk *pk;
	int64_t left;	  /* how many more are wanted */
	const char *last; /* name sent; borrowed */
	bool more;
};

/* Room for one more, whose name may be a path, and for `next`. */
#define PAGE_MAX_BYTES (LIMIT_REPLY_BYTES - (16 << 10))

/* Whether this one is to be packed; false: it is for the next page. */
static inline bool page_takes(struct page *p, const char *name)
{
	p->more = p->left-- <= 0 || p->pk->b->len > PAGE_MAX_BYTES;
	if (!p->more)
		p->last = name;
	return !p->more;
}

static inline void page_next(struct page *p)
{
	pk_ktext(p->pk, "next", slice_str(p->more ? p->last : NULL));
}

#endif
