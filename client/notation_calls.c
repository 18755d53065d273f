/* Arrays of tool calls, as coding agents' logs and APIs hold them: one message of ops. */
#include "client/notation_impl.h"

#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "common/xalloc.h"

/* The keys of one call. */
static const char *const call_keys[] = { "type", "name", "input", "id", "tool_use_id" };

struct calls {
	struct nv_scope sc;
	json_t *ops;
	const char *file;
};

static enum note calls_check_keys(struct calls *c, const json_t *call)
{
	const char *key;
	json_t *v;
	json_object_foreach((json_t *)call, key, v)
	{
		bool known = false;
		for (size_t i = 0; i < ARRAY_SIZE(call_keys); i++)
			known |= strcmp(key, call_keys[i]) == 0;
		if (!known)
			return nv_error(&c->sc, NULL,
					"a tool call has no key '%.80s'; it is {\"name\": "
					"\"Bash\", \"input\": {...}}",
					key);
	}
	return NOTE_OK;
}

/* The id under which the agent knows the call is kept in meta. */
static enum note calls_keep_id(struct calls *c, const json_t *call, json_t *op)
{
	for (size_t i = 3; i < ARRAY_SIZE(call_keys); i++) {
		json_t *id = json_object_get(call, call_keys[i]);
		json_t *meta = json_object_get(op, "meta");
		if (!id || json_is_null(id))
			continue;
		if (!meta) {
			meta = json_object();
			json_object_set_new_nocheck(op, "meta", meta);
		}
		if (!json_is_object(meta) || json_object_get(meta, call_keys[i]))
			return nv_error(&c->sc, NULL, "'%s' has no place in meta", call_keys[i]);
		json_object_set_nocheck(meta, call_keys[i], id);
	}
	return NOTE_OK;
}

static enum note calls_input(struct calls *c, const json_t *call, const struct op_form *form)
{
	struct nv_scope *sc = &c->sc;
	const json_t *input = json_object_get(call, "input");
	struct op_args args = { nv_new(sc, NV_ARRAY, NULL), nv_new(sc, NV_OBJECT, NULL) };
	json_t *op = NULL;
	if (input && !json_is_object(input) && !json_is_null(input))
		return nv_error(sc, NULL, "input must be an object");
	if (json_is_object(input))
		nv_add(args.positional, nv_from_json(sc, input));
	enum note r = op_map(sc, form, &args, NULL, &op);
	if (r == NOTE_OK)
		r = calls_keep_id(c, call, op);
	if (r == NOTE_OK)
		json_array_append(c->ops, op);
	json_decref(op);
	return r;
}

/* A block of text between calls, as in the content of a reply. */
static bool calls_is_text(const json_t *call)
{
	const char *type = json_string_value(json_object_get(call, "type"));
	return type && strcmp(type, "text") == 0 && !json_object_get(call, "input");
}

static enum note calls_one(struct calls *c, const json_t *call, struct slice *ret_text)
{
	const json_t *name = json_object_get(call, "name");
	*ret_text = slice_str("text");
	if (calls_is_text(call))
		return nv_soft(&c->sc, NULL, "text between the calls (--skip-unknown skips it)");
	if (json_object_get(call, "kind") || json_object_get(call, "ops"))
		return nv_error(&c->sc, NULL,
				"not a tool call but part of a batch: it is "
				"{\"messages\": [{\"ops\": [{\"kind\": ...}]}]}");
	if (!json_is_object(call) || !json_is_string(name))
		return nv_error(&c->sc, NULL,
				"not a tool call; it is {\"name\": \"Bash\", \"input\": {...}}");
	struct op_look look = { .name = slice_of(json_string_value(name),
						 json_string_length(name)) };
	*ret_text = look.name;
	const struct op_form *form = op_form_find(look.name);
	if (!form)
		return op_unknown(&c->sc, &look);
	enum note r = calls_check_keys(c, call);
	return r ? r : calls_input(c, call, form);
}

static int calls_all(struct calls *c, const json_t *list)
{
	size_t i;
	json_t *call;
	json_array_foreach(list, i, call)
	{
		struct slice text;
		_cleanup_free_ char *where = xasprintf("%s: [%zu]", c->file, i);
		c->sc.src.name = where;
		enum note r = calls_one(c, call, &text);
		if (r == NOTE_SOFT && c->sc.options->skip_unknown) {
			notation_notice(&c->sc, NULL, text);
			r = NOTE_OK;
		}
		arena_reset(&c->sc.passing);
		c->sc.src.name = c->file;
		if (r)
			return 1;
	}
	if (json_array_size(c->ops) == 0)
		return nv_error(&c->sc, NULL, "no op found in this array of tool calls") != NOTE_OK;
	return 0;
}

int notation_from_calls(const char *name, const json_t *calls,
			const struct notation_options *options, json_t **ret_batch, struct err *e)
{
	struct calls c = { .ops = json_array(), .file = name };
	nv_scope_init(&c.sc, name, slice_str(""), options, e);
	int r = calls_all(&c, calls);
	if (r == 0)
		*ret_batch = json_pack("{s: [{s: O}]}", "messages", "ops", c.ops);
	nv_scope_done(&c.sc);
	json_decref(c.ops);
	return r;
}
