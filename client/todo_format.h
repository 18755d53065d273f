/*
 * Todo items in the forms other programs keep them in, to and from an array of items as the wire
 * has them (json_t). What a form has a place for is written there (a checkbox, a priority letter, a
 * tag), the rest where that form's programs leave it alone: an HTML comment that holds JSON, or
 * key:value words. So ids, statuses, priorities, needs come back as they went.
 */
#ifndef CLIENT_TODO_FORMAT_H
#define CLIENT_TODO_FORMAT_H

#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

enum todo_format {
	TODO_JSON,     /* an array, or {"todos": [...]} */
	TODO_NDJSON,   /* an item a line */
	TODO_MARKDOWN, /* - [ ] [x] [/] [-], nested under what they are part of */
	TODO_TXT,      /* todo.txt: x (A) date date text +project @context key:value */
	TODO_FORMAT_MAX
};

extern const char *const todo_format_names[]; /* NULL-terminated */

/* The format a file's name says, TODO_FORMAT_MAX where it says none. */
enum todo_format todo_format_of_name(const char *path);
/* The same for one that has only content; what is none of the others and is text is todo.txt only
 * where it is named so, so TODO_FORMAT_MAX. */
enum todo_format todo_format_of_content(struct slice text);

/* Appends the items. */
void todo_format_write(enum todo_format f, const json_t *items, struct buf *out);
/* Reads items into a new array; `name` is for messages. 0, or 1 with e ("NAME:LINE: what"). */
int todo_format_read(enum todo_format f, struct slice text, const char *name, json_t **ret,
		     struct err *e) _must_check_;

void todo_md_write(const json_t *items, struct buf *out);
int todo_md_read(struct slice text, const char *name, json_t *items, struct err *e) _must_check_;
void todo_txt_write(const json_t *items, struct buf *out);
int todo_txt_read(struct slice text, const char *name, json_t *items, struct err *e) _must_check_;

/* The next line of *rest without its end; false after the last. */
bool todo_line(struct slice *rest, struct slice *ret_line);
/* A str of an item, "" where it has none. */
const char *todo_str(const json_t *item, const char *key);
void todo_set(json_t *item, const char *key, struct slice value);

#endif
