/*
 * A batch in canonical notation. What is printed reads back as an equal batch, so that strings are
 * escaped by the reader's own few rules, and a duration that the reader would take for milliseconds
 * stands in parentheses.
 */
#include "client/notation.h"

#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "common/text.h"

#define PRINT_WIDTH 100 /* an object longer than this is laid out over lines */

struct printer {
	struct buf *b;
	unsigned depth;
};

/* How an op is written: its name and the keys that come as arguments of their own. */
static const struct print_form {
	const char *kind, *name;
	const char *positional[2];
} print_forms[] = {
	{ "bash", "Bash", { "command" } },
	{ "exec", "Exec", { "argv" } },
	{ "write", "Write", { "path", "content" } },
	{ "edit", "Edit", { "path" } },
	{ "read", "Read", { "path" } },
	{ "todos", "TodoWrite", { NULL } },
};

static void print_value(struct printer *p, const json_t *v);

static void print_newline(struct printer *p)
{
	buf_addc(p->b, '\n');
	for (unsigned i = 0; i < p->depth; i++)
		buf_adds(p->b, "  ");
}

/* ---- strings ---- */

static void print_escaped(struct printer *p, char c, char quote, char next)
{
	unsigned char u = (unsigned char)c;
	if (c == quote || c == '\\')
		buf_add(p->b, (char[2]){ '\\', c }, 2);
	else if (c == '\n' && quote != '`')
		buf_adds(p->b, "\\n");
	else if (c == '\t' && quote != '`')
		buf_adds(p->b, "\\t");
	else if (c == '\r')
		buf_adds(p->b, "\\r");
	else if (c == '$' && quote == '`' && next == '{')
		buf_adds(p->b, "\\$");
	else if ((u < 0x20 && c != '\n' && c != '\t') || u == 0x7f)
		buf_addf(p->b, "\\x%02x", u);
	else
		buf_addc(p->b, c);
}

static bool print_is_special(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f || c == '\\' || c == '"' || c == '`' ||
	       c == '$';
}

/* Text of several lines in backticks, as it is; everything else between double quotes on one line.
 */
static void print_string(struct printer *p, struct slice s)
{
	const char *newline = memchr(s.p, '\n', s.len);
	char quote = newline && newline + 1 < s.p + s.len ? '`' : '"';
	size_t from = 0;
	buf_addc(p->b, quote);
	for (size_t i = 0; i < s.len; i++) {
		if (!print_is_special(s.p[i]))
			continue;
		buf_add(p->b, s.p + from, i - from);
		print_escaped(p, s.p[i], quote, i + 1 < s.len ? s.p[i + 1] : 0);
		from = i + 1;
	}
	buf_add(p->b, s.p + from, s.len - from);
	buf_addc(p->b, quote);
}

static bool print_is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '$';
}

/* A bare key, where the reader would take it for one. */
static void print_key(struct printer *p, const char *key, size_t len)
{
	bool bare = len > 0 && (key[0] < '0' || key[0] > '9');
	for (size_t i = 0; i < len && bare; i++)
		bare = print_is_bare(key[i]);
	if (bare)
		buf_add(p->b, key, len);
	else
		print_string(p, slice_of(key, len));
	buf_adds(p->b, ": ");
}

/* ---- values ---- */

static bool print_is_duration(const char *key)
{
	return strcmp(key, "timeout") == 0 || strcmp(key, "retry_delay") == 0 ||
	       strcmp(key, "delay") == 0;
}

/* One member; `top`: of a batch, message or op, where a bare number of seconds from 1000 is
 * refused. */
static void print_member(struct printer *p, const char *key, size_t len, const json_t *v, bool top)
{
	bool paren =
		top && json_is_number(v) && print_is_duration(key) && json_number_value(v) >= 1000;
	print_key(p, key, len);
	buf_adds(p->b, paren ? "(" : "");
	print_value(p, v);
	buf_adds(p->b, paren ? ")" : "");
}

static void print_open(struct printer *p, char c)
{
	buf_addc(p->b, c);
	p->depth++;
}

static void print_close(struct printer *p, char c)
{
	p->depth--;
	print_newline(p);
	buf_addc(p->b, c);
}

static bool print_has_newline(const json_t *v)
{
	return json_is_string(v) && memchr(json_string_value(v), '\n', json_string_length(v));
}

/* Short and flat enough for one line? */
static bool print_fits(const json_t *v)
{
	const char *key;
	size_t i, length = 0;
	json_t *child;
	if (json_is_array(v))
		json_array_foreach(v, i, child)
		{
			if ((json_is_object(child) && !json_is_bin(child)) ||
			    print_has_newline(child))
				return false;
			length += json_is_string(child) ? json_string_length(child) + 4 : 8;
			if (length > PRINT_WIDTH)
				return false;
		}
	else
		json_object_foreach((json_t *)v, key, child)
		{
			if (print_has_newline(child))
				return false;
			length += strlen(key) +
				  (json_is_string(child) ? json_string_length(child) + 6 : 8);
			if (length > PRINT_WIDTH ||
			    ((json_is_array(child) || json_is_object(child)) && !print_fits(child)))
				return false;
		}
	return true;
}

static void print_array(struct printer *p, const json_t *v)
{
	size_t i;
	json_t *child;
	bool line = print_fits(v);
	if (json_array_size(v) == 0) {
		buf_adds(p->b, "[]");
		return;
	}
	print_open(p, '[');
	json_array_foreach(v, i, child)
	{
		if (!line)
			print_newline(p);
		print_value(p, child);
		if (i + 1 < json_array_size(v))
			buf_adds(p->b, line ? ", " : ",");
	}
	if (!line) {
		print_close(p, ']');
		return;
	}
	p->depth--;
	buf_addc(p->b, ']');
}

static void print_object(struct printer *p, const json_t *v, bool top)
{
	const char *key;
	size_t len, i = 0;
	json_t *child;
	bool line = print_fits(v);
	if (json_object_size(v) == 0) {
		buf_adds(p->b, "{}");
		return;
	}
	print_open(p, '{');
	json_object_keylen_foreach((json_t *)v, key, len, child)
	{
		if (i++)
			buf_addc(p->b, ',');
		if (line)
			buf_addc(p->b, ' ');
		else
			print_newline(p);
		print_member(p, key, len, child, top);
	}
	if (!line) {
		print_close(p, '}');
		return;
	}
	p->depth--;
	buf_adds(p->b, " }");
}

static void print_value(struct printer *p, const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		print_object(p, v, false);
		break;
	case JSON_ARRAY:
		print_array(p, v);
		break;
	case JSON_STRING:
		print_string(p, slice_of(json_string_value(v), json_string_length(v)));
		break;
	case JSON_REAL:
		json_print_real(json_real_value(v), p->b);
		break;
	case JSON_INTEGER:
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL:
		json_print(v, JSON_LINE, p->b);
		break;
	}
}

/* ---- ops, messages, the batch ---- */

static const struct print_form *print_form(const json_t *op)
{
	const char *kind = json_string_value(json_object_get(op, "kind"));
	for (size_t i = 0; i < ARRAY_SIZE(print_forms); i++)
		if (kind && strcmp(kind, print_forms[i].kind) == 0)
			return &print_forms[i];
	return NULL;
}

/* Are all the arguments there? In a batch that plan_make() has proved they are. */
static bool print_is_whole(const struct print_form *form, const json_t *op)
{
	for (size_t i = 0; i < ARRAY_SIZE(form->positional) && form->positional[i]; i++)
		if (!json_object_get(op, form->positional[i]))
			return false;
	return true;
}

static bool print_is_positional(const struct print_form *form, const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(form->positional) && form->positional[i]; i++)
		if (strcmp(key, form->positional[i]) == 0)
			return true;
	return false;
}

/* What does not come as an argument of its own. */
static json_t *print_other_keys(const struct print_form *form, const json_t *op)
{
	const char *key;
	json_t *v, *other = json_object();
	json_object_foreach((json_t *)op, key, v) if (strcmp(key, "kind") != 0 &&
						      !json_is_null(v) &&
						      !print_is_positional(form, key))
		json_object_set_nocheck(other, key, v);
	return other;
}

static void print_op(struct printer *p, const json_t *op)
{
	const struct print_form *form = print_form(op);
	if (!form || !print_is_whole(form, op))
		return;
	_cleanup_json_ json_t *other = print_other_keys(form, op);
	print_newline(p);
	buf_adds(p->b, form->name);
	if (!form->positional[0]) {
		buf_addc(p->b, ' ');
		print_object(p, other, true);
		return;
	}
	buf_addc(p->b, '(');
	for (size_t i = 0; i < ARRAY_SIZE(form->positional) && form->positional[i]; i++) {
		buf_adds(p->b, i ? ", " : "");
		print_value(p, json_object_get(op, form->positional[i]));
	}
	if (json_object_size(other) > 0) {
		buf_adds(p->b, ", ");
		print_object(p, other, true);
	}
	buf_addc(p->b, ')');
}

/* A name that a header's brackets can hold, and give back unchanged. */
static bool print_is_label(struct slice name)
{
	unsigned chars = 0;
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];
		if (c < 0x20 || c == 0x7f || c == ']' || c == '[' || c == '"' || c == '{')
			return false;
		chars += (c & 0xc0) != 0x80;
	}
	return chars >= 2 && chars <= 90 && name.len >= 2 && name.p[0] != ' ' &&
	       name.p[name.len - 1] != ' ' && !memmem(name.p, name.len, "...", 3) &&
	       !memmem(name.p, name.len, "\xe2\x80\xa6", 3);
}

static void print_header(struct printer *p, const json_t *message, size_t index)
{
	const char *key;
	json_t *v;
	_cleanup_json_ json_t *keys = json_object();
	const json_t *name = json_object_get(message, "name");
	struct slice label = slice_of(json_string_value(name), json_string_length(name));
	bool labelled = json_is_string(name) && print_is_label(label);
	json_object_foreach((json_t *)message, key, v) if (strcmp(key, "ops") != 0 &&
							   !json_is_null(v) &&
							   !(labelled && strcmp(key, "name") == 0))
		json_object_set_nocheck(keys, key, v);
	if (labelled)
		buf_addf(p->b, "[%.*s]", SLICE_FMT(label));
	else
		buf_addf(p->b, "Message %zu", index + 1);
	if (json_object_size(keys) > 0) {
		buf_addc(p->b, ' ');
		print_object(p, keys, true);
	}
	buf_addc(p->b, ':');
}

static void print_message(struct printer *p, const json_t *message, size_t index)
{
	size_t i;
	json_t *op;
	print_header(p, message, index);
	p->depth++;
	json_array_foreach(json_object_get(message, "ops"), i, op) print_op(p, op);
	p->depth--;
	buf_addc(p->b, '\n');
}

void notation_print(const json_t *batch, struct buf *out)
{
	struct printer p = { .b = out };
	const char *key;
	size_t i;
	json_t *v, *message;
	_cleanup_json_ json_t *keys = json_object();
	json_object_foreach((json_t *)batch, key,
			    v) if (strcmp(key, "messages") != 0 && !json_is_null(v))
		json_object_set_nocheck(keys, key, v);
	if (json_object_size(keys) > 0) {
		buf_adds(out, "Batch ");
		print_object(&p, keys, true);
		buf_adds(out, "\n\n");
	}
	json_array_foreach(json_object_get(batch, "messages"), i, message)
	{
		if (i)
			buf_addc(out, '\n');
		print_message(&p, message, i);
	}
}
