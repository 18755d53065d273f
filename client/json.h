/*
 * JSON: text to json_t and back, json_t to MessagePack and back, MessagePack to JSON text.
 *
 * One convention ties the three together (contract section 3 rule 8): bytes that are not UTF-8 are
 * {"$bin": base64} in JSON and in a json_t, and bin in MessagePack. Integers lie within +-2^53,
 * there is no NaN or infinity, map keys hold no NUL. Strings may.
 */
#ifndef CLIENT_JSON_H
#define CLIENT_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/slice.h"

static inline void json_cleanupp(json_t **v)
{
	json_decref(*v);
}

#define _cleanup_json_ _cleanup_(json_cleanupp)

enum json_style {
	JSON_LINE,   /* {"a": 1, "b": [2]}, no newline at the end */
	JSON_PRETTY, /* two blanks a level, no newline at the end */
};

/*
 * Reads exactly one JSON value of at most LIMIT_FRAME_BYTES and LIMIT_DEPTH_IN levels. Duplicate
 * keys, bytes that are not UTF-8, NaN, and anything after the value are refused: "NAME:LINE:COL:
 * what". 0 and a new reference, or 1.
 */
int json_read(struct slice text, const char *name, json_t **ret, struct err *e) _must_check_;

/* Appends v as MessagePack, {"$bin": base64} as bin. 1 with e ("ops[2].content: not base64") leaves
 * part of it in out. */
int json_to_mp(const json_t *v, struct buf *out, struct err *e) _must_check_;
/* The same of a map's keys, into the open map of pk. */
struct pk;
int json_pack_keys(const json_t *map, struct pk *pk, struct err *e) _must_check_;
/* The value as a new json_t; `one` has passed the scanner. 1 where a key holds NUL or is no UTF-8,
 * twice the same key, ext. */
int json_from_mp(struct slice one, json_t **ret, struct err *e) _must_check_;

/* Appends JSON text. */
void json_print(const json_t *v, enum json_style style, struct buf *out);
/* The same straight from MessagePack that has passed the scanner, building nothing. */
void json_print_mp(struct slice one, enum json_style style, struct buf *out);
/* A string with its quotes; bytes that are not UTF-8 become {"$bin": base64}. */
void json_print_bytes(struct slice bytes, struct buf *out);
/* The shortest decimal that reads back as v; always with a point or an exponent, so that it stays a
 * float. */
void json_print_real(double v, struct buf *out);
/* The same as JavaScript writes it: 1 for 1.0, 1e+21. */
void json_print_js_number(double v, struct buf *out);

/* {"$bin": base64} where the bytes are not UTF-8, else a string. New reference. */
json_t *json_bytes(struct slice bytes);
/* Is v {"$bin": str}? */
bool json_is_bin(const json_t *v);
void base64_encode(struct slice bytes, struct buf *out);
/* Appends the bytes; false (with out as it was) when the text is not base64. Padding may be left
 * out. */
bool base64_decode(struct slice text, struct buf *out);

#endif
