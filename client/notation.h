/*
 * The batch notation (contract section 2): what people write in design notes and what coding agents
 * are taught to write, read into a batch, and a batch printed in it. Read tolerantly, execute
 * strictly: what is not understood is an error with its place, never skipped in silence.
 *
 * A batch is a json_t exactly as on the wire; bytes that are not UTF-8 are {"$bin": base64}
 * (client/json.h).
 */
#ifndef CLIENT_NOTATION_H
#define CLIENT_NOTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

struct notation_options {
	const char *const
		*defines; /* "NAME=TEXT", "NAME=@FILE": they win over `const NAME` of the text */
	size_t n_defines;
	const char *block;   /* of a markdown document: "N[,M]" counted from 1, "all", NULL */
	bool skip_unknown;   /* skip what is neither op, header nor comment, and say so */
	bool allow_template; /* leave an unbound ${x} in backticks as it stands */
	/*
	 * Gets lines to show on stderr: what was skipped ("FILE:3:1: skipped: ..."), and what an
	 * error lists but struct err has no room for. NULL: written there at once.
	 */
	void (*notice)(void *arg, const char *line);
	void *notice_arg;
};

/* Where the pieces of a batch stand in the text: byte offsets, for errors found later. */
struct notation_places {
	uint32_t *messages, *ops; /* by message; by op counted over the batch */
	uint32_t *first_op;	  /* by message: index of its first op */
	size_t n_messages, n_ops;
	uint32_t batch; /* of `Batch {...}`, else of the first op */
};

#define NOTATION_PLACES_INIT                                                                       \
	{                                                                                          \
		.n_messages = 0                                                                    \
	}

void notation_places_done(struct notation_places *p);

/*
 * Reads notation or a markdown document that holds some; `name` is for errors: "NAME:LINE:COL:
 * what; how to mend" (columns count characters, both from 1). On success *ret_batch is a new
 * reference, and *ret_places (may be NULL) is for notation_locate. What only a whole batch shows
 * (ids, cycles, types of values) is left to plan_make().
 */
int notation_parse(const char *name, struct slice text, const struct notation_options *options,
		   json_t **ret_batch, struct notation_places *ret_places,
		   struct err *e) _must_check_;

/*
 * An array of tool calls, [{"name": "Bash", "input": {"command": "..."}}, ...], as one message.
 * `calls` stays the caller's.
 */
int notation_from_calls(const char *name, const json_t *calls,
			const struct notation_options *options, json_t **ret_batch,
			struct err *e) _must_check_;

/* Puts "NAME:LINE:COL: " before an error whose text begins with a path as "messages[0].ops[2].cwd".
 */
void notation_locate(const char *name, struct slice text, const struct notation_places *places,
		     struct err *e);

/* Appends a batch (proved by plan_make) in the notation; reading it back gives an equal batch. */
void notation_print(const json_t *batch, struct buf *out);

/*
 * Puts the items of a batch's `todos` ops into the form of contract section 1, in place: other
 * tools' names for fields are the fields they mean, `critical` is `high` with the original in meta,
 * unknown keys go to meta. 1 with a path in e where two keys mean one field.
 */
int notation_normalise_todos(json_t *batch, struct err *e) _must_check_;

#endif
