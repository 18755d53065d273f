/*
 * RUN as people write it, in one place: a number, a range "3-7,9", a name, "last", "all", each with
 * an optional ".OP" where the verb takes ops. "last", "all" and no RUN at all mean this project's
 * runs, or everyone's.
 */
#ifndef CLIENT_SELECTORS_H
#define CLIENT_SELECTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/ctx.h"
#include "common/buf.h"

struct selected {
	int64_t run;
	const char *op; /* borrowed: index or id as written; NULL: the whole run */
};

struct selection {
	struct selected *v;
	size_t n;
};

#define SELECTION_INIT                                                                             \
	{                                                                                          \
		NULL, 0                                                                            \
	}

/* What no RUN at all stands for. */
enum selector_none {
	NONE_REFUSED, /* the verb needs one */
	NONE_ACTIVE,  /* all that have not ended */
	NONE_LAST,    /* the newest */
};

struct selector {
	const char *const *words;
	int n;
	enum selector_none none;
	bool everywhere;  /* --everywhere */
	bool ops;	  /* RUN.OP is allowed */
	bool active_only; /* "all" means those that have not ended; a range skips those that have */
};

/*
 * Fills the selection, in the order written, without doubles. An exit status: EXIT_USAGE where a
 * word selects nothing or is ambiguous. Nothing selected by "all" or by no words is fine and gives
 * an empty selection (NONE_LAST: EXIT_USAGE).
 */
int selection_resolve(struct ctx *c, const struct selector *how,
		      struct selection *ret) _must_check_;
void selection_done(struct selection *s);

/* Packs an op as it travels: its index as int, else its id as str. */
struct pk;
void selector_pack_op(struct pk *pk, const char *key, const char *op);

#endif
