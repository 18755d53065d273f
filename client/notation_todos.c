/* Todo items as people and agents write them, put into the form of contract section 1; and errors
 * found later put in their place. */
#include "client/notation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/notation_src.h"
#include "proto/errors.h"
#include "proto/todo_item.h"

/* The field a key means: the first of those that fill the same place. NULL: it goes to meta. */
static const char *todo_field(const char *key)
{
	const struct field *found = todo_item_fields;
	while (found->name && strcmp(found->name, key) != 0)
		found++;
	if (!found->name || found->type == FIELD_IGNORED)
		return found->name;
	for (const struct field *f = todo_item_fields;; f++)
		if (f->offset == found->offset && f->type != FIELD_IGNORED)
			return f->name;
}

/* Ids may be written as numbers. */
static json_t *todo_id(json_t *v)
{
	char text[32];
	if (!json_is_integer(v))
		return json_incref(v);
	snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	return json_string(text);
}

/* One id or several. */
static json_t *todo_ids(json_t *v)
{
	if (!json_is_array(v))
		return json_pack("[o]", todo_id(v));
	json_t *ids = json_array(), *one;
	size_t i;
	json_array_foreach(v, i, one) json_array_append_new(ids, todo_id(one));
	return ids;
}

static json_t *todo_value(const char *field, json_t *v)
{
	if (strcmp(field, "id") == 0 || strcmp(field, "parent") == 0)
		return todo_id(v);
	return strcmp(field, "blocked_by") == 0 ? todo_ids(v) : json_incref(v);
}

static int todo_normalise_key(json_t *item, json_t *meta, const char *key, json_t *v, struct err *e)
{
	const char *field = todo_field(key);
	if (json_is_null(v) || (field && strcmp(field, "meta") == 0))
		return 0;
	if (!field) {
		json_object_set_nocheck(meta, key, v);
		return 0;
	}
	if (json_object_get(item, field))
		return err_set(e, E_PARAMS, ".%s: '%s' is given twice", key, field);
	if (strcmp(field, "priority") == 0 && json_is_string(v) &&
	    strcmp(json_string_value(v), "critical") == 0) {
		json_object_set_new_nocheck(item, field, json_string("high"));
		json_object_set_nocheck(meta, field, v);
		return 0;
	}
	json_object_set_new_nocheck(item, field, todo_value(field, v));
	return 0;
}

static int todo_normalise(json_t *item, struct err *e)
{
	_cleanup_json_ json_t *done = json_object(), *meta = NULL;
	json_t *given = json_object_get(item, "meta"), *v;
	const char *key;
	if (given && !json_is_null(given) && !json_is_object(given))
		return err_set(e, E_PARAMS, ".meta: must be an object");
	meta = json_is_object(given) ? json_copy(given) : json_object();
	json_object_foreach(item, key, v) if (todo_normalise_key(done, meta, key, v, e)) return 1;
	if (json_object_size(meta) > 0 || json_is_object(given))
		json_object_set_nocheck(done, "meta", meta);
	json_object_clear(item);
	json_object_update(item, done);
	return 0;
}

static int todos_normalise_op(json_t *op, struct err *e)
{
	const char *kind = json_string_value(json_object_get(op, "kind"));
	json_t *todos = json_object_get(op, "todos"), *item;
	size_t i;
	if (!kind || strcmp(kind, "todos") != 0)
		return 0;
	json_array_foreach(
		todos, i, item) if (json_is_object(item) &&
				    todo_normalise(item, e)) return err_prefix(e, ".todos[%zu]", i);
	return 0;
}

int notation_normalise_todos(json_t *batch, struct err *e)
{
	size_t i, j;
	json_t *message, *op;
	json_array_foreach(json_object_get(batch, "messages"), i, message) json_array_foreach(
		json_object_get(message, "ops"), j,
		op) if (todos_normalise_op(op, e)) return err_prefix(e, "messages[%zu].ops[%zu]", i,
								     j);
	return 0;
}

/* "messages[2].ops[0]..." to a byte offset. */
static uint32_t places_offset(const struct notation_places *p, const char *path)
{
	unsigned long message, op;
	int n = 0;
	if (sscanf(path, "messages[%lu]%n", &message, &n) != 1 || n == 0 ||
	    message >= p->n_messages)
		return p->batch;
	if (sscanf(path + n, ".ops[%lu]", &op) != 1)
		return p->messages[message];
	op += p->first_op[message];
	return op < p->n_ops ? p->ops[op] : p->messages[message];
}

void notation_locate(const char *name, struct slice text, const struct notation_places *places,
		     struct err *e)
{
	struct src s;
	src_init(&s, name, text);
	struct src_place at = src_place(&s, text.p + places_offset(places, e->text));
	err_prefix(e, "%s:%u:%u: ", name, at.line, at.col);
}
