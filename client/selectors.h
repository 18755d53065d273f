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

/* What a run can be in; ended by a NULL. */
extern const char *const run_states[];

struct selected {
	int64_t run;
	const char *op; /* borrowed: index or id as written; NULL: the whole run */
};

struct selection {
	struct selected *v;
	size_t n;
	bool one; /* a single run was asked for by number, name or `last` (or no RUN meaning that)
		   */
};

#define SELECTION_INIT                                                                             \
	{                                                                                          \
		NULL, 0, false                                                                     \
	}

/* What no RUN at all stands for. */
enum selector_none {
	NONE_REFUSED, /* the verb needs one */
	NONE_ACTIVE,  /* all that have not ended */
	NONE_LAST,    /* the newest */
};

enum selector_which { WHICH_ANY, WHICH_ACTIVE, WHICH_ENDED, WHICH_FAILED, WHICH_MAX };

struct selector {
	const char *const *words;
	int n;
	enum selector_none none;
	bool everywhere;		/* --everywhere */
	bool ops;			/* RUN.OP is allowed */
	enum selector_which all, range; /* what "all" and a range mean */
};

/*
 * Fills the selection, in the order written, without doubles. An exit status: EXIT_USAGE where a
 * word selects nothing or is ambiguous. Nothing selected by "all" or by no words is fine and gives
 * an empty selection (NONE_LAST: EXIT_USAGE).
 */
int selection_resolve(struct ctx *c, const struct selector *how,
		      struct selection *ret) _must_check_;
/* Connects, and resolves a verb's operands; none: the newest run. `ops`: RUN.OP is allowed. */
int selection_of_operands(struct ctx *c, bool everywhere, bool ops,
			  struct selection *ret) _must_check_;
/* Says that the run has no such op; EXIT_USAGE. */
int selector_no_op(struct ctx *c, int64_t run, const char *op);
void selection_done(struct selection *s);

/* Packs an op as it travels: its index as int, else its id as str. */
struct pk;
void selector_pack_op(struct pk *pk, const char *key, const char *op);

#endif
