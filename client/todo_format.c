#include "client/todo_format.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "client/json.h"
#include "common/xalloc.h"

const char *const todo_format_names[] = { "json", "ndjson", "markdown", "todo.txt", NULL };

static const struct {
	const char *suffix;
	enum todo_format format;
} suffixes[] = {
	{ ".json", TODO_JSON },	  { ".ndjson", TODO_NDJSON },	  { ".jsonl", TODO_NDJSON },
	{ ".md", TODO_MARKDOWN }, { ".markdown", TODO_MARKDOWN }, { ".txt", TODO_TXT },
};

enum todo_format todo_format_of_name(const char *path)
{
	size_t len = strlen(path);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		size_t n = strlen(suffixes[i].suffix);
		if (len >= n && strcasecmp(path + len - n, suffixes[i].suffix) == 0)
			return suffixes[i].format;
	}
	return TODO_FORMAT_MAX;
}

bool todo_line(struct slice *rest, struct slice *ret_line)
{
	if (!rest->len)
		return false;
	const char *end = memchr(rest->p, '\n', rest->len);
	size_t len = end ? (size_t)(end - rest->p) : rest->len, whole = len + (end != NULL);
	*ret_line = slice_of(rest->p, len);
	if (len && ret_line->p[len - 1] == '\r')
		ret_line->len--;
	*rest = slice_of(rest->p + whole, rest->len - whole);
	return true;
}

const char *todo_str(const json_t *item, const char *key)
{
	const char *s = json_string_value(json_object_get(item, key));
	return s ? s : "";
}

void todo_set(json_t *item, const char *key, struct slice value)
{
	json_object_set_new(item, key, json_stringn(value.p, value.len));
}

/* An object on the first line that has more lines after it is NDJSON. */
enum todo_format todo_format_of_content(struct slice text)
{
	_cleanup_json_ json_t *items = json_array(), *one = NULL;
	struct slice rest = text, line;
	struct err e = ERR_INIT;
	while (todo_line(&rest, &line)) {
		size_t i = 0;
		while (i < line.len && isspace((unsigned char)line.p[i]))
			i++;
		if (i == line.len)
			continue;
		if (line.p[i] == '[' && (i + 1 == line.len || strchr("{]\" \t", line.p[i + 1])))
			return TODO_JSON;
		if (line.p[i] == '{')
			return json_read(line, "", &one, &e) || json_object_get(one, "todos")
				       ? TODO_JSON
				       : TODO_NDJSON;
		break;
	}
	if (todo_md_read(text, "", items, &e) == 0 && json_array_size(items))
		return TODO_MARKDOWN;
	return TODO_FORMAT_MAX;
}

/* ---- JSON, NDJSON ---- */

static int json_items(struct slice text, const char *name, json_t *items, struct err *e)
{
	_cleanup_json_ json_t *value = NULL;
	if (json_read(text, name, &value, e))
		return 1;
	const json_t *todos = json_is_object(value) ? json_object_get(value, "todos") : value;
	if (!json_is_array(todos))
		return err_set(e, 0,
			       "'%s' holds no list: write [{\"content\": ...}, ...] or "
			       "{\"todos\": [...]}",
			       name);
	return json_array_extend(items, (json_t *)todos);
}

static int ndjson_items(struct slice text, const char *name, json_t *items, struct err *e)
{
	struct slice line;
	for (int number = 1; todo_line(&text, &line); number++) {
		json_t *one = NULL;
		_cleanup_free_ char *where = NULL;
		if (!line.len)
			continue;
		where = xasprintf("%s, line %d", name, number);
		if (json_read(line, where, &one, e))
			return 1;
		json_array_append_new(items, one);
		if (!json_is_object(one))
			return err_set(e, 0, "%s:%d: an item is a JSON object a line", name,
				       number);
	}
	return 0;
}

static void ndjson_write(const json_t *items, struct buf *out)
{
	for (size_t i = 0; i < json_array_size(items); i++) {
		json_print(json_array_get(items, i), JSON_LINE, out);
		buf_addc(out, '\n');
	}
}

static void json_write(const json_t *items, struct buf *out)
{
	json_print(items, JSON_PRETTY, out);
	buf_addc(out, '\n');
}

static const struct {
	void (*write)(const json_t *items, struct buf *out);
	int (*read)(struct slice text, const char *name, json_t *items, struct err *e);
} formats[TODO_FORMAT_MAX] = {
	[TODO_JSON] = { json_write, json_items },
	[TODO_NDJSON] = { ndjson_write, ndjson_items },
	[TODO_MARKDOWN] = { todo_md_write, todo_md_read },
	[TODO_TXT] = { todo_txt_write, todo_txt_read },
};

void todo_format_write(enum todo_format f, const json_t *items, struct buf *out)
{
	formats[f].write(items, out);
}

int todo_format_read(enum todo_format f, struct slice text, const char *name, json_t **ret,
		     struct err *e)
{
	json_t *items = json_array();
	int r = formats[f].read(text, name, items, e);
	if (r)
		json_decref(items);
	else
		*ret = items;
	return r;
}
