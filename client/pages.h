/*
 * Answers that came in pages, as one. A page is a map with an array and `next`; what comes of them
 * is the last page with the array's items of all.
 */
#ifndef CLIENT_PAGES_H
#define CLIENT_PAGES_H

#include "client/ctx.h"
#include "common/buf.h"

struct pages {
	struct buf items; /* packed, one after the other */
	uint32_t n;
	struct buf all; /* what pages_end makes */
};
#define PAGES_INIT                                                                                 \
	{                                                                                          \
		BUF_INIT, 0, BUF_INIT                                                              \
	}

void pages_done(struct pages *p);
#define _cleanup_pages_ _cleanup_(pages_done)

/* Takes the array `key` of a page; its `next` where that is an int, else -1. */
int64_t pages_add(struct pages *p, struct slice page, const char *key);
/* After the last page: fills `all`. */
void pages_end(struct pages *p, struct slice page, const char *key);

/* Calls a method whose `next` is what `after` is to be, until that was all, and fills `all`. An
 * exit status. */
int pages_call(struct ctx *c, const char *method, const char *key, struct pages *p) _must_check_;

#endif
