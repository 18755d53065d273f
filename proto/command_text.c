#include "proto/command_text.h"

#include <stdint.h>
#include <string.h>

#define FOLDERS_BYTES 4096 /* of what the braces of a command make */

static bool word_edge(struct slice s, size_t at)
{
	return at >= s.len || strchr(" \t\n;&|()<>\"'`", s.p[at]) != NULL;
}

/* From `from` on; of `what` that begins a word. */
static size_t word_find(struct slice s, size_t from, struct slice what)
{
	while (from < s.len) {
		const char *at = memmem(s.p + from, s.len - from, what.p, what.len);
		if (!at)
			break;
		from = (size_t)(at - s.p);
		size_t before = from >= 2 && memcmp(at - 2, "./", 2) == 0 ? from - 2 : from;
		if (before == 0 || word_edge(s, before - 1))
			return from;
		from++;
	}
	return SIZE_MAX;
}

size_t command_find(struct slice s, const char *words)
{
	size_t at = word_find(s, 0, slice_str(words)), n = strlen(words);
	while (at != SIZE_MAX && !word_edge(s, at + n))
		at = word_find(s, at + 1, slice_str(words));
	return at;
}

struct slice command_cd(struct slice s)
{
	size_t n = 3;
	if (s.len < 4 || memcmp(s.p, "cd ", 3) != 0)
		return SLICE_NONE;
	while (n < s.len && !word_edge(s, n))
		n++;
	return slice_of(s.p + 3, n - 3);
}

bool command_names(struct slice s, struct slice folder)
{
	for (size_t at = 0; (at = word_find(s, at, folder)) != SIZE_MAX; at++)
		if (at + folder.len < s.len && s.p[at + folder.len] == '/')
			return true;
	return false;
}

static void folder_add(struct slice path, struct buf *ret)
{
	while (path.len > 2 && memcmp(path.p, "./", 2) == 0)
		path = slice_of(path.p + 2, path.len - 2);
	while (path.len > 1 && path.p[path.len - 1] == '/')
		path.len--;
	if (path.len == 0 || slice_is(path, ".") || slice_is(path, "/"))
		return;
	buf_addslice(ret, path);
	buf_addc(ret, '\0');
}

/* Of {a,b} both, of a second pair of braces what stands before it. */
static void folders_expand(struct slice word, struct buf *ret)
{
	const char *open = memchr(word.p, '{', word.len), *end = word.p + word.len;
	const char *close = open ? memchr(open, '}', (size_t)(end - open)) : NULL;
	if (!close || memchr(open + 1, '{', (size_t)(close - open - 1))) {
		folder_add(open ? slice_of(word.p, (size_t)(open - word.p)) : word, ret);
		return;
	}
	const char *more = memchr(close, '{', (size_t)(end - close));
	for (const char *at = open + 1, *next; at <= close; at = next + 1) {
		_cleanup_buf_ struct buf path = BUF_INIT;
		next = memchr(at, ',', (size_t)(close - at));
		next = next ? next : close;
		buf_addslice(&path, slice_of(word.p, (size_t)(open - word.p)));
		buf_addslice(&path, slice_of(at, (size_t)(next - at)));
		buf_addslice(&path, slice_of(close + 1, (size_t)((more ? more : end) - close - 1)));
		folder_add(buf_slice(&path), ret);
	}
}

void command_mkdirs(struct slice s, struct buf *ret)
{
	size_t at = command_find(s, "mkdir"), end;
	bool mode = false; /* the next word is that of -m */
	if (at == SIZE_MAX)
		return;
	for (at += strlen("mkdir"); at < s.len && !strchr(";&|)>\n", s.p[at]); at = end) {
		for (end = at; !word_edge(s, end);)
			end++;
		struct slice word = slice_of(s.p + at, end - at);
		if (word.len == 0) {
			end++;
			continue;
		}
		bool taken = mode || word.p[0] == '-';
		mode = !mode && slice_is(word, "-m");
		if (!taken && !memchr(word.p, '$', word.len) && !memchr(word.p, '*', word.len) &&
		    ret->len < FOLDERS_BYTES)
			folders_expand(word, ret);
	}
}

/* --- redirections --- */

/* Does a command in it begin so? */
static bool command_begins(struct slice s, const char *word)
{
	size_t n = strlen(word);
	for (size_t at = 0; (at = word_find(s, at, slice_str(word))) != SIZE_MAX; at++) {
		size_t before = at;
		while (before > 0 && (s.p[before - 1] == ' ' || s.p[before - 1] == '\t'))
			before--;
		if (word_edge(s, at + n) && (before == 0 || word_edge(s, before - 1)))
			return true;
	}
	return false;
}

/* Not all of it is done, perhaps; or `>` is no redirection in it. */
static bool command_may_branch(struct slice s)
{
	static const char *const words[] = { "if",   "case", "while", "until", "test",
					     "eval", "exit", "trap",  "alias", "function" };
	static const char *const marks[] = { "||", "((", "[ ", "[[", "()", "<(", ">(", "$'" };
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (command_begins(s, words[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (memmem(s.p, s.len, marks[i], strlen(marks[i])))
			return true;
	return false;
}

/* Where what begins with this quote ends: behind the closing one. Where it does not, or holds a
 * command with quotes of its own, perhaps: at the end of all. */
static size_t quote_end(struct slice s, size_t at)
{
	char quote = s.p[at++];
	while (at < s.len && s.p[at] != quote) {
		bool dollar = s.p[at] == '$' && at + 1 < s.len && s.p[at + 1] == '(';
		if (quote == '"' && (dollar || s.p[at] == '`'))
			return s.len;
		at += quote == '"' && s.p[at] == '\\' ? 2 : 1;
	}
	return MIN2(at + 1, s.len);
}

/* Behind what at `at` is no operator to us: a quoted part, an escaped character, a comment. */
static size_t text_end(struct slice s, size_t at)
{
	if (s.p[at] == '\'' || s.p[at] == '"')
		return quote_end(s, at);
	if (s.p[at] == '\\')
		return MIN2(at + 2, s.len);
	if (s.p[at] == '#' && (at == 0 || word_edge(s, at - 1))) {
		const char *line = memchr(s.p + at, '\n', s.len - at);
		return line ? (size_t)(line - s.p) : s.len;
	}
	return at;
}

/* The name that a redirection is to, from behind its operator on; absent: another stream, or a name
 * that only the shell knows. */
static struct slice redirect_name(struct slice s, size_t at)
{
	size_t end;
	while (at < s.len && (s.p[at] == ' ' || s.p[at] == '\t'))
		at++;
	bool quoted = at < s.len && (s.p[at] == '\'' || s.p[at] == '"');
	if (quoted) {
		end = quote_end(s, at) - 1;
		if (!word_edge(s, end + 1) || end <= at)
			return SLICE_NONE;
		at++;
	} else {
		for (end = at; !word_edge(s, end);)
			end++;
		if (end < s.len && strchr("('\"`", s.p[end]))
			return SLICE_NONE;
	}
	for (size_t i = at; i < end; i++)
		if (strchr("$`\\*?[{~&", s.p[i]))
			return SLICE_NONE;
	return end > at ? slice_of(s.p + at, end - at) : SLICE_NONE;
}

struct slice command_redirect(struct slice s, size_t *at)
{
	bool document = false; /* one is read from the next line on */
	if (command_may_branch(s))
		return SLICE_NONE;
	for (size_t i = *at, next; i < s.len; i = next) {
		next = text_end(s, i);
		if (next > i)
			continue;
		next = i + 1;
		if (s.p[i] == '\n' && document)
			return SLICE_NONE;
		document = document || (s.p[i] == '<' && next < s.len && s.p[next] == '<');
		if (s.p[i] != '>' || (i > 0 && s.p[i - 1] == '<'))
			continue;
		while (next < s.len && strchr(">|", s.p[next]))
			next++;
		struct slice name = redirect_name(s, next);
		*at = next;
		if (name.p)
			return name;
	}
	return SLICE_NONE;
}
