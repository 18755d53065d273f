/*
 * Random batches over every key of the contract's section 1, with strings that are awkward to
 * quote. All are valid: plan_make() takes them.
 */
#ifndef TESTS_RANDOM_BATCH_H
#define TESTS_RANDOM_BATCH_H

#include <stdint.h>
#include <stdio.h>

#include "client/json.h"

struct rnd {
	uint64_t state;
	unsigned ops; /* so far: makes ids and paths distinct */
};

static uint32_t rnd_next(struct rnd *r)
{
	r->state = r->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(r->state >> 33);
}

static uint32_t rnd_below(struct rnd *r, uint32_t n)
{
	return rnd_next(r) % n;
}

static bool rnd_one_in(struct rnd *r, uint32_t n)
{
	return rnd_below(r, n) == 0;
}

/* Without control bytes; those are among the next. */
static const char *const rnd_pieces[] = {
	"a",
	"word",
	" ",
	"\"",
	"'",
	"`",
	"\"\"\"",
	"\\",
	"\\\\",
	"\\n",
	"\\x41",
	"\\u0041",
	"\\u{41}",
	"\\`",
	"\\${x}",
	"${x}",
	"${",
	"$(x)",
	"$x",
	"$",
	"{",
	"}",
	"[",
	"]",
	"(",
	")",
	"//",
	"# no",
	"/* x",
	"*/",
	"...",
	"\xe2\x80\xa6",
	"10+ todos",
	"Bash(\"x\")",
	"Message 2:",
	"[label]:",
	"```",
	"~~~",
	"\xc3\xa9",
	"\xe4\xb8\x96",
	"\xf0\x9f\x98\x80",
	"\xef\xbb\xbf",
	"\xc2\xa0",
	"\xe2\x80\xa8",
	"\xe2\x80\x9c",
	",",
	";",
	":",
	"=",
	"+",
	"null",
	"undefined",
	"@",
	"0",
	"1e5",
	"<x>",
	"const a = 1",
	"- ",
};
static const char *const rnd_controls[] = { "\n",   "\n\n",    "\t",   "\r",   "\r\n",
					    "\x01", "\x1b[0m", "\x7f", "\\\n", "\n```\n" };

enum rnd_text { RND_NAME, RND_TEXT, RND_BYTES };

static json_t *rnd_string(struct rnd *r, enum rnd_text kind)
{
	struct buf b = BUF_INIT;
	uint32_t n = rnd_below(r, 8) + (kind == RND_NAME);
	for (uint32_t i = 0; i < n; i++) {
		bool control = kind != RND_NAME && rnd_one_in(r, 5);
		buf_adds(&b, control ? rnd_controls[rnd_below(r, ARRAY_SIZE(rnd_controls))]
				     : rnd_pieces[rnd_below(r, ARRAY_SIZE(rnd_pieces))]);
		if (kind == RND_BYTES && rnd_one_in(r, 20))
			buf_addc(&b, '\0');
		if (kind == RND_BYTES && rnd_one_in(r, 40))
			buf_addc(&b, (char)0xff);
	}
	json_t *v = json_bytes(buf_slice(&b));
	buf_done(&b);
	return v;
}

static json_t *rnd_number(struct rnd *r)
{
	static const double reals[] = { 0.5,	    -1.25,  0.1,
					1e21,	    1e-7,   1.0,
					123456.789, 5e-324, 1.7976931348623157e308,
					-0.0,	    1e15 };
	static const json_int_t ints[] = {
		0, 1, -1, 999, 1000, 120000, 9007199254740992, -9007199254740992
	};
	return rnd_one_in(r, 2) ? json_real(reals[rnd_below(r, ARRAY_SIZE(reals))])
				: json_integer(ints[rnd_below(r, ARRAY_SIZE(ints))]);
}

static json_t *rnd_any(struct rnd *r, unsigned depth)
{
	uint32_t kind = rnd_below(r, depth ? 8 : 6);
	if (kind < 2)
		return rnd_string(r, RND_BYTES);
	if (kind < 3)
		return rnd_number(r);
	if (kind < 6)
		return kind == 3 ? json_null() : json_boolean(kind == 4);
	json_t *v = kind == 6 ? json_array() : json_object();
	for (uint32_t n = rnd_below(r, 4); n > 0; n--) {
		json_t *key = rnd_string(r, RND_TEXT);
		if (kind == 6)
			json_array_append_new(v, rnd_any(r, depth - 1));
		else
			json_object_set_new(v, json_string_value(key), rnd_any(r, depth - 1));
		json_decref(key);
	}
	return v;
}

static json_t *rnd_map(struct rnd *r)
{
	json_t *v = json_object();
	for (uint32_t n = rnd_below(r, 4); n > 0; n--) {
		json_t *key = rnd_string(r, RND_TEXT);
		json_object_set_new(v, json_string_value(key), rnd_any(r, 3));
		json_decref(key);
	}
	return v;
}

static json_t *rnd_duration(struct rnd *r)
{
	static const char *const texts[] = { "500ms", "90s", "1h30m", "2d", "10m" };
	static const double reals[] = { 0.5, 1.5, 999.5, 1000.0, 3600.25 };
	static const json_int_t ints[] = { 0, 1, 999, 1000, 3600, 86400 };
	uint32_t kind = rnd_below(r, 3);
	if (kind == 0)
		return json_string(texts[rnd_below(r, ARRAY_SIZE(texts))]);
	return kind == 1 ? json_real(reals[rnd_below(r, ARRAY_SIZE(reals))])
			 : json_integer(ints[rnd_below(r, ARRAY_SIZE(ints))]);
}

static json_t *rnd_env(struct rnd *r)
{
	static const char *const names[] = { "PATH",	 "A-B", "with blank", "quote\"",
					     "\xc3\xa9", "x.y", "1st" };
	json_t *v = json_object();
	for (uint32_t n = rnd_below(r, 4); n > 0; n--) {
		json_t *value = rnd_one_in(r, 4) ? json_null() : json_string("v'\"`${x}\\\n//");
		json_object_set_new(v, names[rnd_below(r, ARRAY_SIZE(names))], value);
	}
	return v;
}

static json_t *rnd_word(struct rnd *r, const char *const *words, uint32_t n)
{
	return json_string(words[rnd_below(r, n)]);
}

#define RND_WORD(r, ...)                                                                           \
	rnd_word((r), (const char *const[]){ __VA_ARGS__ },                                        \
		 sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* The value is made only when the key is. */
#define RND_SET(r, map, key, value)                                                                \
	do {                                                                                       \
		if (rnd_one_in((r), 6))                                                            \
			json_object_set_new((map), (key), (value));                                \
	} while (0)

static json_t *rnd_strings(struct rnd *r)
{
	json_t *v = json_array();
	for (uint32_t n = rnd_below(r, 4); n > 0; n--)
		json_array_append_new(v, rnd_string(r, RND_TEXT));
	return v;
}

static json_t *rnd_ids(struct rnd *r)
{
	char id[32];
	snprintf(id, sizeof(id), "op_%u-x", rnd_below(r, r->ops));
	return json_pack("[s]", id);
}

static json_t *rnd_path(struct rnd *r)
{
	json_t *text = rnd_string(r, RND_TEXT);
	struct buf b = BUF_INIT;
	const char *tail = json_is_string(text) ? json_string_value(text) : "";
	buf_addf(&b, "dir%u/", r->ops);
	/* A path that climbs out of its own folder could meet another. */
	for (; *tail; tail++)
		buf_addc(&b, *tail == '/' || *tail == '.' ? '_' : *tail);
	json_t *v = json_bytes(buf_slice(&b));
	buf_done(&b);
	json_decref(text);
	return v;
}

static json_t *rnd_todo(struct rnd *r, unsigned i)
{
	char id[32];
	snprintf(id, sizeof(id), "%u", r->ops * 100 + i);
	json_t *item = json_pack("{s:s}", "id", id);
	RND_SET(r, item, "content", rnd_string(r, RND_NAME));
	RND_SET(r, item, "status", RND_WORD(r, "pending", "in_progress", "completed", "cancelled"));
	RND_SET(r, item, "priority", RND_WORD(r, "high", "medium", "low"));
	RND_SET(r, item, "active_form", rnd_string(r, RND_NAME));
	RND_SET(r, item, "description", rnd_string(r, RND_NAME));
	RND_SET(r, item, "owner", json_string("some one"));
	RND_SET(r, item, "tags", json_pack("[s,s]", "a", "b c"));
	RND_SET(r, item, "at", json_string("f.c:12"));
	RND_SET(r, item, "meta", rnd_map(r));
	return item;
}

static json_t *rnd_todos(struct rnd *r)
{
	json_t *v = json_array();
	uint32_t n = rnd_below(r, 4);
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(v, rnd_todo(r, i));
	return v;
}

static json_t *rnd_stdin(struct rnd *r)
{
	return rnd_one_in(r, 2) ? rnd_string(r, RND_BYTES) : json_pack("{s:s}", "file", "in put");
}

static json_t *rnd_argv(struct rnd *r)
{
	json_t *v = rnd_strings(r);
	json_array_insert_new(v, 0, json_string("prog"));
	return v;
}

static json_t *rnd_kind(struct rnd *r)
{
	switch (rnd_below(r, 6)) {
	case 0:
		return json_pack("{s:s, s:o}", "kind", "bash", "command", rnd_string(r, RND_TEXT));
	case 1:
		return json_pack("{s:s, s:o}", "kind", "exec", "argv", rnd_argv(r));
	case 2:
		return json_pack("{s:s, s:o, s:o}", "kind", "write", "path", rnd_path(r), "content",
				 rnd_string(r, RND_BYTES));
	case 3:
		return json_pack("{s:s, s:o, s:s, s:o}", "kind", "edit", "path", rnd_path(r), "old",
				 "`x`\n\\", "new", rnd_string(r, RND_BYTES));
	case 4:
		return json_pack("{s:s, s:o}", "kind", "read", "path", rnd_path(r));
	default:
		return json_pack("{s:s, s:o}", "kind", "todos", "todos", rnd_todos(r));
	}
}

static void rnd_kind_keys(struct rnd *r, json_t *op)
{
	const char *kind = json_string_value(json_object_get(op, "kind"));
	bool bash = strcmp(kind, "bash") == 0, exec = strcmp(kind, "exec") == 0;
	if (bash)
		RND_SET(r, op, "shell", json_string("/bin/zsh -x"));
	if (bash || exec)
		RND_SET(r, op, "stdin", rnd_stdin(r));
	if (bash || exec)
		RND_SET(r, op, "background", json_true());
	if (json_object_get(op, "background"))
		RND_SET(r, op, "ready",
			rnd_one_in(r, 2)
				? json_pack("{s:i}", "port", 3000)
				: json_pack("{s:s, s:s}", "match", "up \"1\"", "timeout", "30s"));
	if ((bash || exec) && !json_object_get(op, "stdin"))
		RND_SET(r, op, "pty", json_boolean(rnd_one_in(r, 2)));
	if (strcmp(kind, "write") == 0) {
		RND_SET(r, op, "mode", json_string("0755"));
		RND_SET(r, op, "create_only", json_false());
		RND_SET(r, op, "append", json_false());
		RND_SET(r, op, "expect",
			json_string("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8"
				    "55"));
	}
	if (strcmp(kind, "edit") == 0)
		RND_SET(r, op, "all", json_boolean(rnd_one_in(r, 2)));
	if (strcmp(kind, "read") == 0) {
		RND_SET(r, op, "offset", json_integer(5));
		RND_SET(r, op, "limit", json_integer(0));
	}
	if (strcmp(kind, "todos") == 0) {
		RND_SET(r, op, "mode", RND_WORD(r, "replace", "merge"));
		RND_SET(r, op, "list", rnd_string(r, RND_NAME));
	}
}

static json_t *rnd_op(struct rnd *r)
{
	char id[32];
	json_t *op = rnd_kind(r);
	rnd_kind_keys(r, op);
	RND_SET(r, op, "cwd", rnd_path(r));
	RND_SET(r, op, "env", rnd_env(r));
	RND_SET(r, op, "timeout", rnd_duration(r));
	RND_SET(r, op, "retries", json_integer(3));
	RND_SET(r, op, "retry_delay", rnd_duration(r));
	RND_SET(r, op, "ok_exits", json_pack("[i,i]", 0, 255));
	RND_SET(r, op, "optional", json_true());
	RND_SET(r, op, "weight", json_integer(2));
	RND_SET(r, op, "independent", json_true());
	RND_SET(r, op, "external", json_false());
	RND_SET(r, op, "reads", rnd_strings(r));
	RND_SET(r, op, "writes", rnd_strings(r));
	RND_SET(r, op, "detach", json_true());
	RND_SET(r, op, "output_cap", json_integer(0));
	RND_SET(r, op, "description", rnd_string(r, RND_NAME));
	RND_SET(r, op, "meta", rnd_map(r));
	if (r->ops > 0)
		RND_SET(r, op, rnd_one_in(r, 2) ? "needs" : "after_any", rnd_ids(r));
	snprintf(id, sizeof(id), "op_%u-x", r->ops++);
	json_object_set_new(op, "id", json_string(id));
	return op;
}

static json_t *rnd_message(struct rnd *r)
{
	json_t *message = json_object(), *ops = json_array();
	RND_SET(r, message, "name", rnd_string(r, RND_NAME));
	RND_SET(r, message, "on_failure", RND_WORD(r, "stop", "continue", "kill"));
	RND_SET(r, message, "order", RND_WORD(r, "parallel", "serial", "as-if-serial"));
	RND_SET(r, message, "timeout", rnd_duration(r));
	RND_SET(r, message, "always", json_boolean(rnd_one_in(r, 2)));
	for (uint32_t n = 1 + rnd_below(r, 4); n > 0; n--)
		json_array_append_new(ops, rnd_op(r));
	json_object_set_new(message, "ops", ops);
	return message;
}

static json_t *rnd_batch(uint64_t seed)
{
	struct rnd rnd = { .state = seed * 2654435761u + 1 }, *r = &rnd;
	json_t *batch = json_object(), *messages = json_array();
	for (int i = 0; i < 4; i++)
		rnd_next(r);
	RND_SET(r, batch, "cwd", json_string("/a b/\"c\""));
	RND_SET(r, batch, "env_base", rnd_env(r));
	RND_SET(r, batch, "env", rnd_env(r));
	RND_SET(r, batch, "name", json_string("night-ly"));
	RND_SET(r, batch, "key", rnd_string(r, RND_NAME));
	RND_SET(r, batch, "on_failure", RND_WORD(r, "stop", "continue", "kill"));
	RND_SET(r, batch, "order", RND_WORD(r, "parallel", "serial", "as-if-serial"));
	RND_SET(r, batch, "group", json_string("group"));
	RND_SET(r, batch, "priority", json_integer(-5));
	RND_SET(r, batch, "jobs", json_integer(4));
	RND_SET(r, batch, "timeout", rnd_duration(r));
	RND_SET(r, batch, "needs_runs", json_pack("[i,i]", 1, 2));
	RND_SET(r, batch, "after_any_runs", json_pack("[i]", 3));
	RND_SET(r, batch, "held", json_true());
	RND_SET(r, batch, "not_before", json_integer(1700000000000));
	RND_SET(r, batch, "delay", rnd_duration(r));
	RND_SET(r, batch, "list", json_string("a list"));
	RND_SET(r, batch, "output_cap", json_integer(123456));
	RND_SET(r, batch, "umask", json_string("077"));
	RND_SET(r, batch, "meta", rnd_map(r));
	for (uint32_t n = 1 + rnd_below(r, 3); n > 0; n--)
		json_array_append_new(messages, rnd_message(r));
	json_object_set_new(batch, "messages", messages);
	return batch;
}

#endif
