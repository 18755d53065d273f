/* JSON schemas of the tools' arguments, out of the field tables that check them. */
#include <string.h>

#include "client/mcp.h"
#include "proto/batch.h"
#include "proto/limits.h"

extern const struct field todo_item_fields[];

static json_t *schema_type(const char *type)
{
	return json_pack("{s:s}", "type", type);
}

static json_t *schema_array(json_t *items)
{
	return json_pack("{s:s, s:o}", "type", "array", "items", items);
}

/* Not an array of types, which some providers of models refuse. */
static json_t *schema_either(const char *a, const char *b)
{
	return json_pack("{s:[{s:s}, {s:s}]}", "anyOf", "type", a, "type", b);
}

static json_t *schema_names(const char *const *names)
{
	json_t *all = json_array();
	for (; *names; names++)
		json_array_append_new(all, json_string(*names));
	return json_pack("{s:s, s:o}", "type", "string", "enum", all);
}

static json_t *schema_int(const struct field *f)
{
	json_t *s = schema_type("integer");
	if (f->min || f->max)
		json_object_set_new(s, "minimum", json_integer(f->min));
	if (f->max && f->max < LIMIT_INT)
		json_object_set_new(s, "maximum", json_integer(f->max));
	return s;
}

static json_t *schema_field(const struct field *f)
{
	switch (f->type) {
	case FIELD_BOOL:
		return schema_type("boolean");
	case FIELD_INT:
		return schema_int(f);
	case FIELD_DURATION:
		return schema_either("string", "number");
	case FIELD_ENUM:
		return schema_names(f->names);
	case FIELD_ENUMSET:
		return schema_array(schema_names(f->names));
	case FIELD_OPREF:
		return schema_either("integer", "string");
	case FIELD_MAP:
	case FIELD_META:
	case FIELD_ENV:
		return schema_type("object");
	case FIELD_ARRAY:
		return schema_array(schema_type("object"));
	case FIELD_NAMES:
	case FIELD_BYTESV:
		return schema_array(schema_type("string"));
	case FIELD_INTS:
		return schema_array(schema_type("integer"));
	case FIELD_UTF8:
	case FIELD_NAME:
	case FIELD_NAME0:
	case FIELD_LABEL:
	case FIELD_BYTES:
	case FIELD_CSTR:
	case FIELD_PATH:
	case FIELD_ABSPATH:
	case FIELD_OCTAL:
	case FIELD_RAW:
		return schema_type("string");
	case FIELD_PUSH:
	case FIELD_ANY:
	case FIELD_IGNORED:
	case FIELD_TYPE_MAX:
		break;
	}
	return NULL;
}

static bool schema_skips(const char *const *skip, const char *name)
{
	for (; skip && *skip; skip++)
		if (strcmp(*skip, name) == 0)
			return true;
	return false;
}

static json_t *schema_described(json_t *s, const char *text)
{
	if (text)
		json_object_set_new(s, "description", json_string(text));
	return s;
}

/* Two rows of one name are two kinds' keys: the first is described. */
json_t *mcp_schema(const struct field *table, const char *const *skip)
{
	json_t *properties = json_object(), *required = json_array();
	for (const struct field *f = table; f->name; f++) {
		json_t *s = schema_skips(skip, f->name) || json_object_get(properties, f->name)
				    ? NULL
				    : schema_field(f);
		if (!s)
			continue;
		json_object_set_new(properties, f->name, schema_described(s, f->doc));
		if (f->required && !f->kinds)
			json_array_append_new(required, json_string(f->name));
	}
	json_t *schema = json_pack("{s:s, s:o, s:b}", "type", "object", "properties", properties,
				   "additionalProperties", 0);
	if (json_array_size(required))
		json_object_set(schema, "required", required);
	json_decref(required);
	return schema;
}

static json_t *schema_properties(json_t *schema)
{
	return json_object_get(schema, "properties");
}

/* Names of other tools for the same, and what only batchd writes. */
static const char *const todo_skip[] = { "activeForm", "assignedAgent", "blockedBy", "dependencies",
					 "dependsOn",  "error",		NULL };

static json_t *schema_todo_items(void)
{
	json_t *item = mcp_schema(todo_item_fields, todo_skip);
	json_object_set_new(item, "additionalProperties", json_true());
	return schema_array(item);
}

static json_t *schema_batch(void)
{
	static const char *const head_skip[] = { "env_base", "umask", "held", "not_before",
						 "delay",    "meta",  NULL };
	static const char *const op_skip[] = { "independent", "external", "reads", "writes",
					       "detach",      "meta",	  NULL };
	json_t *op = mcp_schema(batch_op_fields, op_skip);
	json_t *message = mcp_schema(batch_message_fields, NULL);
	json_t *batch = mcp_schema(batch_head_fields, head_skip);
	json_object_set_new(op, "additionalProperties", json_true());
	json_object_set_new(batch, "additionalProperties", json_true());
	json_object_set_new(schema_properties(op), "todos", schema_todo_items());
	json_object_set_new(
		schema_properties(op), "ready",
		schema_described(schema_type("object"),
				 "with background: {port: N} or {match: \"text\"}, and timeout"));
	json_object_set_new(schema_properties(op), "mode",
			    schema_described(schema_type("string"),
					     "write: octal digits; todos: replace or merge"));
	json_object_set_new(schema_properties(message), "ops", schema_array(op));
	json_object_set_new(schema_properties(batch), "messages", schema_array(message));
	json_object_set_new(batch, "required", json_pack("[s]", "messages"));
	return schema_described(batch,
				"The batch as JSON: messages run in order, the ops of a message in "
				"parallel. Give this or notation. Durations: \"90s\", \"10m\".");
}

/* The whole schema of a batch is said once, by batch_run: each client pays for it. */
static json_t *schema_batch_call(json_t *batch)
{
	return json_pack(
		"{s:s, s:b, s:{s:{s:s, s:s}, s:o, s:{s:s, s:{s:s}, s:s}, s:{s:s, s:s}, "
		"s:{s:s, s:{s:s}, s:s}}}",
		"type", "object", "additionalProperties", 0, "properties", "notation", "type",
		"string", "description",
		"The batch in the batch notation: headers such as [Phase 1]: and ops such as "
		"Bash(\"make\", { timeout: \"5m\", todo: \"build\" }), Write(\"path\", \"text\"), "
		"Edit(\"path\", \"old\", \"new\"), Read(\"path\"), TodoWrite { todos: [...] }. "
		"Ops under one header run in parallel, headers in order. Give this or batch.",
		"batch", batch, "define", "type", "object", "additionalProperties", "type",
		"string", "description", "Text for names that the notation refers to", "cwd",
		"type", "string", "description",
		"Absolute folder it happens in; default: the batch's own, else the project",
		"pass_env", "type", "array", "items", "type", "string", "description",
		"Names of environment variables to pass on to the ops though they look like "
		"secrets (*_TOKEN, *_KEY, *SECRET*, SSH_*)");
}

json_t *mcp_schema_batch_submit(const struct mcp_tool *t)
{
	(void)t;
	return schema_batch_call(
		schema_described(schema_type("object"), "The batch as JSON, as batch_run's"));
}

static void schema_add_wait(json_t *schema, const char *text)
{
	json_object_set_new(schema_properties(schema), "wait",
			    json_pack("{s:s, s:i, s:i, s:s}", "type", "number", "minimum", 0,
				      "maximum", 86400, "description", text));
}

json_t *mcp_schema_batch_run(const struct mcp_tool *t)
{
	json_t *schema = schema_batch_call(schema_batch());
	(void)t;
	schema_add_wait(schema,
			"Seconds after which to answer though it still runs; default 50, since "
			"many clients give up after 60");
	return schema;
}

json_t *mcp_schema_run_status(const struct mcp_tool *t)
{
	static const char *const skip[] = { "output", NULL };
	json_t *schema = mcp_schema(methods[t->method].fields, skip);
	json_object_del(schema, "required");
	json_object_set_new(
		json_object_get(schema_properties(schema), "run"), "description",
		json_string("the run's id; without it: the newest runs of the project"));
	schema_add_wait(schema, "Seconds to wait for its end first; default 0, better up to 50");
	return schema;
}

json_t *mcp_schema_run_output(const struct mcp_tool *t)
{
	json_t *schema = mcp_schema(methods[t->method].fields, NULL);
	json_t *limit = json_object_get(schema_properties(schema), "limit");
	schema_described(limit, "at most so many bytes; 8192, 65536 at most");
	return schema;
}

json_t *mcp_schema_todo(const struct mcp_tool *t)
{
	json_t *schema = mcp_schema(methods[t->method].fields, todo_skip);
	if (json_object_get(schema_properties(schema), "todos"))
		json_object_set_new(schema_properties(schema), "todos", schema_todo_items());
	if (t->method == METHOD_TODO_UPDATE)
		json_object_set_new(schema, "required", json_pack("[s]", "id"));
	return schema;
}
