/*
 * Field tables: what keys a map may have, of which type, and where in a struct they go. One table a
 * shape (batch, message, op, each method's params) serves decoding, the error that names the place,
 * and the documentation.
 *
 * Decoding borrows: slices point into the message. nil counts as absent, an empty array as an empty
 * map. Unknown and duplicate keys, wrong types and ranges are refused: `messages[2].ops[0].cwd:
 * must be absolute`.
 */
#ifndef PROTO_FIELD_H
#define PROTO_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/slice.h"
#include "proto/mp.h"

enum field_type {
	FIELD_BOOL,	/* bool */
	FIELD_INT,	/* int64_t in [min, max]; integral floats count */
	FIELD_DURATION, /* int64_t milliseconds, from a number of seconds or a str with units */
	FIELD_UTF8,	/* struct slice, str of valid UTF-8 (bin accepted when valid) */
	FIELD_NAME,	/* struct slice: UTF-8, not empty, <= LIMIT_NAME_BYTES, no control bytes */
	FIELD_NAME0,	/* struct slice: NAME or empty, which clears */
	FIELD_LABEL,	/* struct slice: NAME and contract section 1's rule: not all digits, no
			   range of them, not last/all, no . , or blank */
	FIELD_BYTES,	/* struct slice, str or bin */
	FIELD_CSTR,	/* struct slice: BYTES without NUL */
	FIELD_PATH,	/* struct slice: BYTES, not empty, no NUL */
	FIELD_ABSPATH,	/* struct slice: PATH that begins with / */
	FIELD_OCTAL,	/* int64_t from a str of octal digits <= max */
	FIELD_ENUM,	/* int, index into `names`; `false` means names[0] where that is "false" */
	FIELD_ENUMSET,	/* uint32_t, 1 << index of each: one str of `names` or an array of them */
	FIELD_OPREF,	/* struct op_ref: an op's index (int from 1) or its id (str) */
	FIELD_MAP,	/* struct slice: the raw map */
	FIELD_ARRAY,	/* struct slice: the raw array */
	FIELD_NAMES,	/* struct slice: raw array of NAME */
	FIELD_INTS,	/* struct slice: raw array of ints in [min, max] */
	FIELD_BYTESV,	/* struct slice: raw array of BYTES without NUL */
	FIELD_ENV,  /* struct slice: raw map str -> str (bytes) or nil; names without = and NUL, not
		       empty */
	FIELD_META, /* struct slice: raw map, checked whole, at most LIMIT_META_DEPTH deep */
	FIELD_PUSH, /* struct slice: raw array [method, args...] that notifications are made of */
	FIELD_ANY,  /* struct slice: raw value, checked whole */
	FIELD_RAW,  /* struct slice: raw value, for the caller to look at */
	FIELD_IGNORED, /* nothing: checked whole and left */
	FIELD_TYPE_MAX
};

/* What a type is called in documentation: "duration", "array of int". */
const char *field_type_name(enum field_type type);

struct field {
	const char *name;
	enum field_type type;
	uint32_t offset; /* of the value in the struct */
	uint32_t has;	 /* offset of a bool that is set when the key is present; 0: none */
	bool required;
	int64_t min, max; /* FIELD_INT, FIELD_INTS, FIELD_OCTAL, FIELD_DURATION (ms); both 0: the
			   * type's own range. max of FIELD_UTF8, FIELD_BYTES, FIELD_CSTR,
			   * FIELD_BYTESV: bytes; of FIELD_NAME too where it is not
			   * LIMIT_NAME_BYTES; of FIELD_NAMES: names, 0: any number. min of
			   * FIELD_CSTR, FIELD_BYTESV: 1: not empty */
	const char *const *names; /* FIELD_ENUM: NULL-terminated */
	uint32_t kinds;	 /* bit set of the kinds that have the key; 0: all (see field_opts) */
	const char *doc; /* one line for PROTOCOL.md and --help */
};

/* FIELD_OPREF: index 0 and id absent when not given. */
struct op_ref {
	int64_t index;
	struct slice id;
};

#define FIELD_END                                                                                  \
	{                                                                                          \
		.name = NULL                                                                       \
	}
#define FIELD_MAX_PER_TABLE 64

/*
 * Fills `into` from the map whose bytes are `map`; fields that are absent keep what `into` held.
 * ret_seen (may be NULL) gets a bit for each field present. `path` is where the map stands, for
 * error texts: "messages[2].ops[0]", or "". Returns 0, or 1 with e filled (E_PARAMS, E_UTF8,
 * E_LIMIT, E_MEMORY).
 */
int field_decode(const struct field *table, struct slice map, void *into, const char *path,
		 uint64_t *ret_seen, struct err *e) _must_check_;

/* What a table may be read with. */
struct field_opts {
	uint32_t kinds; /* only fields of these kinds; another kind's key: "not a key of kind
			   'bash'" */
	const char *kind_name;
	/* Instead of refusing an unknown key. 0, or 1 with e filled (text beginning with ": " or
	 * ".key: "). */
	int (*unknown)(void *arg, struct slice key, struct slice value, struct err *e);
	void *arg;
};
int field_decode_with(const struct field *table, struct slice map, void *into, const char *path,
		      const struct field_opts *opts, uint64_t *ret_seen,
		      struct err *e) _must_check_;

/* A whole value of outside make: keys are str and distinct, integers within LIMIT_INT, no NaN, str
 * is UTF-8, depth at most max. */
int value_check(struct slice value, int max_depth, const char *path, struct err *e) _must_check_;

/* Elements of a raw array (0 where absent), and a cursor at the first of them. */
int array_count(struct slice array);
struct mp array_open(struct slice array, uint32_t *ret_count);

/* What FIELD_LABEL asks of a name beyond FIELD_NAME. The error text begins with ": ". */
int field_label_check(struct slice s, struct err *e) _must_check_;

#endif
