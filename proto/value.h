/*
 * What field.c and its friends share: error texts about a value begin with ": " or with the place
 * inside it ("[3]: ", ".key: "), and get what leads there put before them on the way up. Only
 * proto/ includes this.
 */
#ifndef PROTO_VALUE_H
#define PROTO_VALUE_H

#include "common/err.h"
#include "proto/errors.h"
#include "proto/field.h"
#include "proto/mp.h"

#define VALUE_QUOTE_MAX 96

/* A name from outside as it may stand in an error text: one line, valid UTF-8, cut. */
const char *value_quote(struct slice s, char text[VALUE_QUOTE_MAX]);
/* Puts path and, if not NULL, ".key" before e; nothing but the key where the path is empty.
 * Returns 1. */
int value_at(struct err *e, const char *path, const char *key);
/* The key at the cursor: must be a str of valid UTF-8. */
int value_key(struct mp *m, struct slice *ret, struct err *e) _must_check_;
/* Opens a map (an empty array is one) or an array: the cursor then stands at the first element. */
int value_open_map(struct slice raw, struct mp *m, uint32_t *ret_pairs, struct err *e) _must_check_;
int value_open_array(struct slice raw, struct mp *m, uint32_t *ret_count,
		     struct err *e) _must_check_;
/* No key of the map comes twice; its keys are str (checked before). */
int value_keys_distinct(struct slice map, struct err *e) _must_check_;
/* value_check() without a path. */
int value_verify(struct slice raw, int max_depth, struct err *e) _must_check_;
/* What the value is: "str", "map", ... */
const char *value_type(struct slice raw);
/* ": must be <what>, not <the value's type>" */
#define value_wrong(raw, what, e)                                                                  \
	err_set((e), E_PARAMS, ": must be %s, not %s", (what), value_type(raw))
/* One value of the field's type into `into`, in field_types.c. */
int field_value(const struct field *f, struct slice raw, void *into, struct err *e) _must_check_;

#endif
