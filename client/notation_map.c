/* Arguments of the notation, and inputs of tool calls, to ops, batch keys and message keys of the
 * wire. */
#include "client/notation_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "proto/field.h"
#include "proto/suggest.h"

/* Other names for the keys of ops. */
static const struct map_alias {
	const char *name, *of;
	uint32_t kinds;
} map_aliases[] = {
	{ "file_path", "path", 1u << KIND_WRITE | 1u << KIND_EDIT | 1u << KIND_READ },
	{ "old_string", "old", 1u << KIND_EDIT },
	{ "new_string", "new", 1u << KIND_EDIT },
	{ "replace_all", "all", 1u << KIND_EDIT },
};

/* Keys of the wire that stand for the structure, which the notation writes in its own way. */
static const char *const map_structure[] = { "messages", "ops", "kind" };

/* What is being filled: a batch, a message or an op. */
struct mapping {
	struct nv_scope *sc;
	json_t *into;
	const struct field *fields;
	uint32_t kind;	  /* bit of the op's kind; 0: no op */
	const char *what; /* "Bash", "a batch" */
};

static bool map_has_field(const struct mapping *m, const struct field *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(map_structure); i++)
		if (strcmp(f->name, map_structure[i]) == 0)
			return false;
	return f->kinds == 0 || (f->kinds & m->kind);
}

static const struct field *map_field(const struct mapping *m, struct slice name)
{
	for (size_t i = 0; i < ARRAY_SIZE(map_aliases); i++)
		if ((map_aliases[i].kinds & m->kind) && slice_is(name, map_aliases[i].name))
			name = slice_str(map_aliases[i].of);
	for (const struct field *f = m->fields; f->name; f++)
		if (slice_is(name, f->name) && map_has_field(m, f))
			return f;
	return NULL;
}

static enum note map_unknown_key(struct mapping *m, struct slice name, const char *at)
{
	struct suggest near = SUGGEST_INIT(name);
	char hint[SUGGEST_TEXT_MAX];
	for (const struct field *f = m->fields; f->name; f++)
		if (map_has_field(m, f))
			suggest_offer(&near, f->name);
	return nv_error(m->sc, at, "%s has no key '%.*s'%s", m->what,
			name.len > 80 ? 80 : (int)name.len, name.p, suggest_text(&near, hint));
}

/* A number from 1000 is taken for milliseconds, and refused; in parentheses it is meant as it is.
 */
static enum note map_check_duration(struct nv_scope *sc, const struct nv *v, const char *key)
{
	double number = v->type == NV_INT ? (double)v->i : v->type == NV_REAL ? v->d : 0;
	char as_ms[32], as_s[32];
	if (v->paren || number < 1000)
		return NOTE_OK;
	snprintf(as_ms, sizeof(as_ms), "%.15gs", number / 1000);
	if (number >= 36000)
		snprintf(as_s, sizeof(as_s), "%.0fh", floor(number / 3600));
	else
		snprintf(as_s, sizeof(as_s), "%.15gs", number);
	return nv_error(sc, v->at, "%s: %.15g: write \"%s\" or \"%s\"", key, number, as_ms, as_s);
}

static enum note map_check_text(struct nv_scope *sc, const struct nv *v, const char *key)
{
	if (nv_is_text(v))
		return NOTE_OK;
	if (v->type == NV_OBJECT || v->type == NV_ARRAY)
		return nv_error(
			sc, v->at,
			"%s must be a string, this is %s: use JSON.stringify(%s, null, 2)%s", key,
			nv_type_name(v), v->type == NV_OBJECT ? "{...}" : "[...]",
			v->type == NV_ARRAY ? ", or [...].join(\"\\n\") for lines" : "");
	return nv_error(sc, v->at, "%s must be a string, this is %s", key, nv_type_name(v));
}

static enum note map_check_strings(struct nv_scope *sc, const struct nv *v, const char *key)
{
	if (v->type != NV_ARRAY)
		return nv_error(sc, v->at, "%s must be an array of strings, this is %s", key,
				nv_type_name(v));
	for (const struct nv *word = v->first; word; word = word->next)
		if (!nv_is_text(word))
			return nv_error(sc, word->at, "%s holds strings, this is %s: quote it", key,
					nv_type_name(word));
	return NOTE_OK;
}

static enum note map_check_array(struct nv_scope *sc, const struct nv *v, const char *key)
{
	if (v->type != NV_ARRAY)
		return nv_error(sc, v->at, "%s must be an array, this is %s", key, nv_type_name(v));
	if (v->only_comment)
		return nv_soft(sc, v->at,
			       "a placeholder stands here: %s holds nothing but a comment", key);
	return NOTE_OK;
}

/* A service's `ready` holds a duration too. */
static enum note map_check_ready(struct nv_scope *sc, const struct nv *v)
{
	for (const struct nv *m = v->type == NV_OBJECT ? v->first : NULL; m; m = m->next)
		if (slice_is(m->key, "timeout"))
			return map_check_duration(sc, m, "ready.timeout");
	return NOTE_OK;
}

/* What can be told better here, with its place, than by the proof of the whole batch. */
static enum note map_check(struct mapping *m, const struct field *f, const struct nv *v)
{
	if (f->type == FIELD_DURATION)
		return map_check_duration(m->sc, v, f->name);
	if (strcmp(f->name, "ready") == 0)
		return map_check_ready(m->sc, v);
	if (f->type == FIELD_BYTES || f->type == FIELD_CSTR || f->type == FIELD_PATH)
		return map_check_text(m->sc, v, f->name);
	if (f->type == FIELD_BYTESV)
		return map_check_strings(m->sc, v, f->name);
	return f->type == FIELD_ARRAY ? map_check_array(m->sc, v, f->name) : NOTE_OK;
}

/* Of agents' calls: `false` says nothing; `true` is not what an op does. */
static enum note map_background(struct mapping *m, const char *at, const struct nv *v)
{
	if ((v->type == NV_BOOL && !v->b) || v->type == NV_NULL)
		return NOTE_OK;
	return nv_error(m->sc, at,
			"run_in_background: leave it out: the ops of a message run side by side "
			"anyway; background: true makes a service, which is stopped when the run "
			"ends, and detach: true lets an op leave children running");
}

static enum note map_put(struct mapping *m, struct slice name, const char *at, const struct nv *v)
{
	json_t *value;
	const struct field *f = map_field(m, name);
	if (!f && m->kind == 1u << KIND_BASH && slice_is(name, "run_in_background"))
		return map_background(m, at, v);
	if (!f)
		return map_unknown_key(m, name, at);
	if (v->type == NV_NULL)
		return NOTE_OK;
	enum note r = map_check(m, f, v);
	if (r)
		return r;
	if (json_object_get(m->into, f->name))
		return nv_error(m->sc, at, "'%s' is given twice", f->name);
	r = nv_to_json(m->sc, v, &value);
	if (r == NOTE_OK)
		json_object_set_new_nocheck(m->into, f->name, value);
	return r;
}

static enum note map_members(struct mapping *m, const struct nv *object)
{
	for (const struct nv *v = object->first; v; v = v->next) {
		enum note r = map_put(m, v->key, v->key_at, v);
		if (r)
			return r;
	}
	return NOTE_OK;
}

/* Takes the last positional argument off when it is an object: the op's keys. */
static struct nv *map_take_keys(struct nv *positional)
{
	struct nv *last = positional->last, *before = NULL;
	if (!last || last->type != NV_OBJECT || nv_is_bytes(last))
		return NULL;
	for (struct nv *v = positional->first; v != last; v = v->next)
		before = v;
	if (before)
		before->next = NULL;
	else
		positional->first = NULL;
	positional->last = before;
	positional->count--;
	return last;
}

static enum note map_positional(struct mapping *m, const struct op_form *form,
				const struct nv *positional)
{
	size_t i = 0;
	for (const struct nv *v = positional->first; v; v = v->next, i++) {
		if (i >= ARRAY_SIZE(form->positional) || !form->positional[i])
			return nv_error(m->sc, v->at,
					"one argument too many: %s takes %zu and an object of "
					"keys, as in { timeout: "
					"\"5m\" }",
					form->name, i);
		enum note r = map_put(m, slice_str(form->positional[i]), v->at, v);
		if (r)
			return r;
	}
	return NOTE_OK;
}

/* Exec("prog", "arg") or Exec(["prog", "arg"]). */
static enum note map_argv(struct mapping *m, struct nv *positional)
{
	struct nv *argv = positional;
	if (positional->count == 0)
		return NOTE_OK;
	if (positional->first->type == NV_ARRAY && positional->count > 1)
		return nv_error(m->sc, positional->first->next->at,
				"one argument too many: Exec takes one array, or strings");
	if (positional->first->type == NV_ARRAY)
		argv = positional->first;
	return map_put(m, slice_str("argv"), argv->at, argv);
}

/* TodoRead: the list as JSON on stdout. Ops find socket and list in their environment. */
static enum note map_todo_read(struct mapping *m, const struct nv *positional)
{
	if (positional->count > 0)
		return nv_error(m->sc, positional->first->at,
				"TodoRead takes nothing but an object of keys");
	json_t *argv = json_pack("[s, s, s, s]", "batchctl", "todo", "list", "--json");
	json_object_set_new_nocheck(m->into, "argv", argv);
	return NOTE_OK;
}

static void map_add_item_key(struct nv_scope *sc, struct nv *item, const struct nv *v,
			     struct slice key)
{
	struct nv *copy = nv_copy(sc, v, v->at);
	copy->key = slice_is(key, "subject") ? slice_str("content") : key;
	nv_add(item, copy);
}

static void map_drop_first(struct nv *list)
{
	list->first = list->first->next;
	list->count--;
	if (!list->first)
		list->last = NULL;
}

/* TaskCreate({ subject, description, ... }) and TaskCreate("subject", "description"): one item,
 * merged. */
static struct nv *map_task_item(struct nv_scope *sc, struct nv *positional, const struct nv *named)
{
	static const char *const names[] = { "content", "description" };
	struct nv *item = nv_new(sc, NV_OBJECT, positional->at);
	const struct nv *object = named;
	if (named->count == 0 && positional->first && positional->first->type == NV_OBJECT) {
		object = positional->first;
		map_drop_first(positional);
	}
	for (const struct nv *v = object->first; v; v = v->next)
		map_add_item_key(sc, item, v, v->key);
	for (size_t i = 0;
	     i < ARRAY_SIZE(names) && positional->first && positional->first->type != NV_OBJECT;
	     i++) {
		map_add_item_key(sc, item, positional->first, slice_str(names[i]));
		map_drop_first(positional);
	}
	return item;
}

static enum note map_task(struct mapping *m, struct op_args *args)
{
	struct nv *item = map_task_item(m->sc, args->positional, args->named);
	unsigned contents = 0;
	json_t *one;
	for (const struct nv *v = item->first; v; v = v->next)
		contents += slice_is(v->key, "content");
	if (contents > 1)
		return nv_error(m->sc, item->at, "the subject is given twice");
	if (contents == 0)
		return NOTE_OK;
	enum note r = nv_to_json(m->sc, item, &one);
	if (r)
		return r;
	json_object_set_new_nocheck(m->into, "todos", json_pack("[o]", one));
	json_object_set_new_nocheck(m->into, "mode", json_string("merge"));
	return NOTE_OK;
}

/* What each kind cannot do without. */
static bool map_is_whole(const json_t *op, const struct op_form *form)
{
	if (form->kind == KIND_EXEC)
		return json_object_get(op, "argv") != NULL;
	if (form->kind == KIND_TODOS)
		return json_object_get(op, "todos") != NULL;
	for (size_t i = 0; i < ARRAY_SIZE(form->positional) && form->positional[i]; i++)
		if (!json_object_get(op, form->positional[i]))
			return false;
	return true;
}

/* Write("p", { a: 1 }): the object stands where the content should be. */
static bool map_is_content(const struct mapping *m, const struct op_form *form,
			   const struct op_args *args, const struct nv *keys)
{
	if (form->kind != KIND_WRITE || !keys || args->positional->count != 1 ||
	    args->named->count > 0)
		return false;
	if (nv_get(keys, "content"))
		return false;
	for (const struct nv *v = keys->first; v; v = v->next)
		if (!map_field(m, v->key))
			return true;
	return keys->count == 0;
}

static enum note map_args(struct mapping *m, const struct op_form *form, struct op_args *args,
			  const char *at)
{
	enum note r = NOTE_OK;
	bool task = strcmp(form->name, "TaskCreate") == 0;
	if (task)
		r = map_task(m, args);
	struct nv *keys = map_take_keys(args->positional);
	if (r == NOTE_OK && form->bare)
		r = map_todo_read(m, args->positional);
	else if (r == NOTE_OK)
		r = form->kind == KIND_EXEC ? map_argv(m, args->positional)
					    : map_positional(m, form, args->positional);
	if (r == NOTE_OK && map_is_content(m, form, args, keys))
		return map_check_text(m->sc, keys, "content");
	if (r == NOTE_OK && !task)
		r = map_members(m, args->named);
	if (r == NOTE_OK && keys)
		r = map_members(m, keys);
	if (r == NOTE_OK && !map_is_whole(m->into, form))
		r = nv_error(m->sc, at, "%s needs %s", form->name, form->needs);
	return r;
}

enum note op_map(struct nv_scope *sc, const struct op_form *form, const struct op_args *given,
		 const char *at, json_t **ret)
{
	struct op_args args = *given;
	*ret = NULL;
	if (nv_has_unbound(args.positional) || nv_has_unbound(args.named))
		return NOTE_OK;
	_cleanup_json_ json_t *op = json_object();
	struct mapping m = { .sc = sc,
			     .into = op,
			     .fields = batch_op_fields,
			     .kind = 1u << form->kind,
			     .what = form->name };
	json_object_set_new_nocheck(op, "kind", json_string(op_kind_names[form->kind]));
	enum note r = map_args(&m, form, &args, at);
	if (r == NOTE_OK)
		*ret = TAKE_PTR(op);
	return r;
}

enum note map_batch_keys(struct nv_scope *sc, const struct nv *keys, json_t *batch)
{
	struct mapping m = {
		.sc = sc, .into = batch, .fields = batch_head_fields, .what = "a batch"
	};
	return map_members(&m, keys);
}

enum note map_message_keys(struct nv_scope *sc, const struct nv *keys, json_t *message)
{
	struct mapping m = {
		.sc = sc, .into = message, .fields = batch_message_fields, .what = "a message"
	};
	return map_members(&m, keys);
}
