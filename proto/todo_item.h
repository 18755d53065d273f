/*
 * A todo item as a client writes it: in todo.write, in an op of kind `todos`, and (its fields) in
 * todo.update. Other tools' names for the same things are understood (activeForm, assignedAgent,
 * blockedBy, dependencies, dependsOn); what is not known goes to `meta`; what only batchd can know
 * (rev, created, ...) is accepted and ignored, so that a listed item can be written back as it is.
 */
#ifndef PROTO_TODO_ITEM_H
#define PROTO_TODO_ITEM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"
#include "proto/field.h"
#include "proto/limits.h"

/*
 * An absent slice, or -1, is "not given"; an empty description, active_form, owner, parent, at or
 * error clears it. Everything borrows from the item's bytes, meta perhaps from meta_storage.
 */
struct todo_item {
	struct slice id, content, active_form, description, owner, parent, at, error;
	struct slice blocked_by, tags; /* raw arrays of str */
	struct slice meta;	       /* raw map */
	int status;   /* enum todo_status (daemon/record.h), in wire order; -1: not given */
	int priority; /* high, medium, low: 0, 1, 2, TODO_ITEM_CRITICAL; -1: not given */
};

#define TODO_ITEM_INIT                                                                             \
	{                                                                                          \
		.status = -1, .priority = -1                                                       \
	}

/* In wire order, NULL-terminated. The fourth priority, "critical", is stored as high with the word
 * in meta. */
extern const char *const wire_todo_statuses[];
extern const char *const wire_todo_priorities[];
#define TODO_ITEM_CRITICAL 3 /* never in what todo_item_decode and method_decode return */

/*
 * The rows of a field table for an item that stands at member `m` of struct `s`; names that mean
 * the same have the same offset.
 */
#define TODO_ITEM_FIELDS(s, m)                                                                     \
	{ "id", FIELD_NAME, offsetof(s, m.id), .doc = "what names it; made when not given" },      \
		{ "content", FIELD_UTF8, offsetof(s, m.content), .max = LIMIT_TODO_TEXT_BYTES,     \
		  .doc = "what is to be done" },                                                   \
		{ "status", FIELD_ENUM, offsetof(s, m.status), .names = wire_todo_statuses,        \
		  .doc = "pending, in_progress, completed, cancelled" },                           \
		{ "priority", FIELD_ENUM, offsetof(s, m.priority), .names = wire_todo_priorities,  \
		  .doc = "high, medium, low; critical is high" },                                  \
		{ "active_form", FIELD_UTF8, offsetof(s, m.active_form),                           \
		  .max = LIMIT_TODO_TEXT_BYTES,                                                    \
		  .doc = "the content as said while it is being done" },                           \
		{ "activeForm", FIELD_UTF8, offsetof(s, m.active_form),                            \
		  .max = LIMIT_TODO_TEXT_BYTES, .doc = "active_form" },                            \
		{ "description", FIELD_UTF8, offsetof(s, m.description),                           \
		  .max = LIMIT_TODO_TEXT_BYTES, .doc = "more about it" },                          \
		{ "owner", FIELD_NAME0, offsetof(s, m.owner), .doc = "who does it" },              \
		{ "assignedAgent", FIELD_NAME0, offsetof(s, m.owner), .doc = "owner" },            \
		{ "blocked_by", FIELD_NAMES, offsetof(s, m.blocked_by), .max = LIMIT_TODOS,        \
		  .doc = "ids of the items to be completed first" },                               \
		{ "blockedBy", FIELD_NAMES, offsetof(s, m.blocked_by), .max = LIMIT_TODOS,         \
		  .doc = "blocked_by" },                                                           \
		{ "dependencies", FIELD_NAMES, offsetof(s, m.blocked_by), .max = LIMIT_TODOS,      \
		  .doc = "blocked_by" },                                                           \
		{ "dependsOn", FIELD_NAMES, offsetof(s, m.blocked_by), .max = LIMIT_TODOS,         \
		  .doc = "blocked_by" },                                                           \
		{ "parent", FIELD_NAME0, offsetof(s, m.parent),                                    \
		  .doc = "id of the item it is part of" },                                         \
		{ "tags", FIELD_NAMES, offsetof(s, m.tags), .max = LIMIT_TODOS,                    \
		  .doc = "words to find it by" },                                                  \
		{ "at", FIELD_UTF8, offsetof(s, m.at), .max = LIMIT_PATH_BYTES,                    \
		  .doc = "file:line" },                                                            \
		{ "error", FIELD_UTF8, offsetof(s, m.error), .max = LIMIT_TODO_TEXT_BYTES,         \
		  .doc = "why the op that drives it last failed" },                                \
		{ "meta", FIELD_META, offsetof(s, m.meta),                                         \
		  .doc = "whatever else; unknown keys go here" },                                  \
		{ "rev", FIELD_IGNORED, .doc = "ignored when written" },                           \
		{ "created", FIELD_IGNORED, .doc = "ignored when written" },                       \
		{ "started", FIELD_IGNORED, .doc = "ignored when written" },                       \
		{ "completed", FIELD_IGNORED, .doc = "ignored when written" },                     \
		{ "position", FIELD_IGNORED, .doc = "ignored when written" },                      \
		{ "run", FIELD_IGNORED, .doc = "ignored when written" },                           \
	{                                                                                          \
		"lease_until", FIELD_IGNORED, .doc = "ignored when written"                        \
	}

extern const struct field
	todo_item_fields[]; /* of struct todo_item, with `source` and `list` ignored too */

/*
 * Fills ret from one item (a raw map; an empty array counts as one): an `id` or `content` must be
 * there. Unknown keys are packed into meta_storage together with the item's own `meta`:
 * meta_storage is cleared first, and ret->meta is valid until it is used again (NULL: the item is
 * only proved, ret->meta is then the item's own). 0, or 1 with e.
 */
int todo_item_decode(struct slice item, const char *path, struct todo_item *ret,
		     struct buf *meta_storage, struct err *e) _must_check_;
/* The rules that no single field knows, for an item of a table with TODO_ITEM_FIELDS; names given
 * twice as aliases among them. */
int todo_item_check(const struct field *table, uint64_t seen, const struct todo_item *item,
		    struct err *e) _must_check_;

#endif
