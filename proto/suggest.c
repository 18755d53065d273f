#include "proto/suggest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

#define SUGGEST_CHARS 32 /* longer names are not compared */

static bool suggest_same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edits (insert, delete, replace, swap neighbours) that make a of b, by rows of the usual table. */
static unsigned suggest_distance(struct slice a, struct slice b)
{
	unsigned rows[3][SUGGEST_CHARS + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];
	for (unsigned j = 0; j <= b.len; j++)
		last[j] = j;
	for (unsigned i = 1; i <= a.len; i++) {
		row[0] = i;
		for (unsigned j = 1; j <= b.len; j++) {
			unsigned replace = last[j - 1] + !suggest_same(a.p[i - 1], b.p[j - 1]);
			row[j] = MIN2(replace, MIN2(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && suggest_same(a.p[i - 1], b.p[j - 2]) &&
			    suggest_same(a.p[i - 2], b.p[j - 1]))
				row[j] = MIN2(row[j], before[j - 2] + 1);
		}
		unsigned *free_row = before;
		before = last;
		last = row;
		row = free_row;
	}
	return last[b.len];
}

static bool suggest_prefix(struct slice shorter, struct slice longer)
{
	return shorter.len >= 2 && shorter.len < longer.len &&
	       memcmp(shorter.p, longer.p, shorter.len) == 0;
}

/* What others call it, who write batches by heart: no distance leads from there to the name. */
static const struct {
	const char *name, *words; /* words: blank between them */
} called[] = {
	{ "messages", "ops steps tasks commands phases stages" },
	{ "ops", "kind command commands cmd steps tasks" },
	{ "kind", "type" },
	{ "command", "cmd script run" },
	{ "argv", "args" },
	{ "needs", "depends_on dependsOn depends dependencies deps requires" },
	{ "cwd", "dir directory workdir working_directory workingDirectory working_dir" },
	{ "env", "environment envs variables" },
	{ "jobs", "parallel max_parallel concurrency parallelism" },
	{ "retries", "retry max_retries" },
	{ "on_failure", "on_error onError fail_fast" },
	{ "optional", "allow_failure ignore_errors continue_on_error" },
	{ "always", "finally cleanup" },
	{ "background", "run_in_background service daemon" },
	{ "path", "file_path filePath file filename" },
	{ "content", "text contents body data" },
	{ "old", "old_string oldText" },
	{ "new", "new_string newText" },
};

static bool suggest_is_called(struct slice wrong, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(called); i++) {
		const char *w = strcmp(called[i].name, name) == 0 ? called[i].words : "";
		for (size_t n; *w; w += n + (w[n] == ' ')) {
			n = strcspn(w, " ");
			if (slice_eq(wrong, slice_of(w, n)))
				return true;
		}
	}
	return false;
}

void suggest_offer(struct suggest *s, const char *name)
{
	struct slice n = slice_str(name);
	bool is = suggest_is_called(s->wrong, name);
	if (n.len > SUGGEST_CHARS || s->wrong.len > SUGGEST_CHARS || s->wrong.len == 0)
		return;
	unsigned d = is ? 0 : suggest_distance(s->wrong, n);
	unsigned near = n.len < 4 ? 1 : n.len < 8 ? 2 : 3;
	if (suggest_prefix(s->wrong, n) || suggest_prefix(n, s->wrong))
		d = MIN2(d, near);
	if (d <= near && (!s->best || d < s->distance)) {
		s->best = name;
		s->distance = d;
	}
}

const char *suggest_text(const struct suggest *s, char text[SUGGEST_TEXT_MAX])
{
	text[0] = '\0';
	if (s->best)
		snprintf(text, SUGGEST_TEXT_MAX, " (did you mean '%s'?)", s->best);
	return text;
}
