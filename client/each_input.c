#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/each.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"

#define RECORDS_MAX                                                                                \
	((size_t)1 << 28) /* more is a slip of the keyboard: crossing a list with itself */

bool each_is_separator(const char *word)
{
	return strcmp(word, ":::") == 0 || strcmp(word, ":::+") == 0 || strcmp(word, "::::") == 0 ||
	       strcmp(word, "::::+") == 0;
}

static void source_add(struct each_source *s, struct slice one)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 64;
		s->v = xrealloc(s->v, s->cap, sizeof(*s->v));
	}
	s->v[s->n++] = one;
}

static struct each_source *input_source(struct each_input *in, bool linked)
{
	in->sources = xrealloc(in->sources, in->n_sources + 1, sizeof(*in->sources));
	struct each_source *s = &in->sources[in->n_sources];
	*s = (struct each_source){ .text = BUF_INIT, .linked = linked && in->n_sources > 0 };
	in->n_sources++;
	return s;
}

/* What -d says: one character, or one of the escapes people write. */
static int input_delimiter(struct ctx *c, const struct each_options *o, char *ret)
{
	static const char escapes[][2] = { { 't', '\t' }, { 'n', '\n' },  { '0', '\0' },
					   { 'r', '\r' }, { '\\', '\\' }, { 'f', '\f' } };
	const char *d = o->delimiter;
	*ret = o->null ? '\0' : '\n';
	if (!d)
		return EXIT_OK;
	*ret = d[0];
	for (size_t i = 0; i < ARRAY_SIZE(escapes) && d[0] == '\\'; i++)
		if (d[1] == escapes[i][0] && d[2] == '\0') {
			*ret = escapes[i][1];
			return EXIT_OK;
		}
	if (!d[0] || d[1])
		return fail(c, EXIT_USAGE, "-d: '%s' is not one character", d);
	return EXIT_OK;
}

static void source_split(struct each_source *s, char delimiter)
{
	struct slice rest = buf_slice(&s->text);
	while (rest.len) {
		const char *at = memchr(rest.p, delimiter, rest.len);
		size_t n = at ? (size_t)(at - rest.p) : rest.len;
		source_add(s, slice_of(rest.p, n));
		rest = slice_of(rest.p + n + (at != NULL), rest.len - n - (at != NULL));
	}
}

/* All of a file, or of stdin ("-"). */
static int source_read(struct ctx *c, struct each_source *s, const char *name, char delimiter)
{
	bool is_stdin = strcmp(name, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(c, EXIT_USAGE, "cannot read '%s': %s", name, errno_text(errno));
	if (is_stdin && isatty(fd))
		note(c, "reading arguments from the terminal, one a line; end them with ^D");
	int r = fd_read_all(fd, SIZE_MAX / 2, &s->text);
	if (!is_stdin)
		close(fd);
	if (r < 0)
		return fail(c, EXIT_USAGE, "cannot read '%s': %s", name, errno_text(-r));
	source_split(s, delimiter);
	return EXIT_OK;
}

/* Those of the line: each separator begins a source, of `::::` each file is one. */
static int input_words(struct ctx *c, struct each_input *in, const char *const *words, bool link,
		       char delimiter)
{
	int status = EXIT_OK;
	while (*words && status == EXIT_OK) {
		const char *how = *words++;
		bool linked = link || how[strlen(how) - 1] == '+';
		if (strncmp(how, "::::", 4) != 0) {
			struct each_source *s = input_source(in, linked);
			while (*words && !each_is_separator(*words))
				source_add(s, slice_str(*words++));
			continue;
		}
		while (*words && !each_is_separator(*words) && status == EXIT_OK)
			status = source_read(c, input_source(in, linked), *words++, delimiter);
	}
	return status;
}

/* An empty source among others counts as one that holds an empty argument. */
static void input_fill_empty(struct each_input *in)
{
	for (size_t i = 0; i < in->n_sources && in->n_sources > 1; i++)
		if (in->sources[i].n == 0)
			source_add(&in->sources[i], slice_str(""));
}

/* How many records the group of linked sources from `first` on makes; *ret_next: the one behind. */
static size_t input_group(const struct each_input *in, size_t first, size_t *ret_next)
{
	size_t n = in->sources[first].n, i = first + 1;
	for (; i < in->n_sources && in->sources[i].linked; i++)
		n = in->wraps ? MAX2(n, in->sources[i].n) : MIN2(n, in->sources[i].n);
	*ret_next = i;
	return n;
}

static int input_count(struct ctx *c, struct each_input *in)
{
	in->n_records = 1;
	for (size_t i = 0, next; i < in->n_sources; i = next) {
		size_t n = input_group(in, i, &next);
		if (n && in->n_records > RECORDS_MAX / n)
			return fail(c, EXIT_USAGE,
				    "the arguments make more than %zu combinations: link sources "
				    "with `:::+`, or split them",
				    RECORDS_MAX);
		in->n_records *= n;
	}
	return EXIT_OK;
}

/* \t, \n and \d are no escapes of POSIX, but of those who write --colsep. */
static int input_colsep(struct ctx *c, const char *text, struct each_input *in)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char why[100];
	for (const char *p = text; *p; p++) {
		bool escape = *p == '\\' && p[1];
		if (escape && (p[1] == 't' || p[1] == 'n'))
			buf_addc(&b, p[1] == 't' ? '\t' : '\n');
		else if (escape && p[1] == 'd')
			buf_adds(&b, "[0-9]");
		else if (escape)
			buf_add(&b, p, 2);
		else
			buf_addc(&b, *p);
		p += escape;
	}
	int r = regcomp(&in->colsep, buf_str(&b), REG_EXTENDED);
	if (r) {
		regerror(r, &in->colsep, why, sizeof(why));
		return fail(c, EXIT_USAGE, "--colsep '%s': %s", text, why);
	}
	in->splits = true;
	return EXIT_OK;
}

int each_input_read(struct ctx *c, const struct each_options *o, const char *const *words,
		    struct each_input *in)
{
	char delimiter;
	in->wraps = o->link;
	int status = input_delimiter(c, o, &delimiter);
	if (status == EXIT_OK && o->colsep)
		status = input_colsep(c, o->colsep, in);
	for (size_t i = 0; i < o->files.n && status == EXIT_OK; i++)
		status = source_read(c, input_source(in, o->link), o->files.v[i], delimiter);
	if (status == EXIT_OK)
		status = input_words(c, in, words, o->link, delimiter);
	if (status == EXIT_OK && !o->files.n && !*words)
		status = source_read(c, input_source(in, false), "-", delimiter);
	if (status)
		return status;
	input_fill_empty(in);
	return input_count(c, in);
}

void each_input_done(struct each_input *in)
{
	for (size_t i = 0; i < in->n_sources; i++) {
		buf_done(&in->sources[i].text);
		free(in->sources[i].v);
	}
	free(in->sources);
	if (in->splits)
		regfree(&in->colsep);
}

static void args_add(struct each_args *a, struct slice one)
{
	if (a->n == a->cap) {
		a->cap = a->cap ? a->cap * 2 : 8;
		a->v = xrealloc(a->v, a->cap, sizeof(*a->v));
	}
	a->v[a->n++] = one;
}

/* The columns of an argument. */
static void args_split(struct each_args *a, const struct each_input *in, struct slice one)
{
	size_t at = 0, from = 0;
	while (at <= one.len) {
		regmatch_t m = { .rm_so = (regoff_t)at, .rm_eo = (regoff_t)one.len };
		int flags = REG_STARTEND | (at ? REG_NOTBOL : 0);
		if (regexec(&in->colsep, one.p, 1, &m, flags))
			break;
		if (m.rm_eo == m.rm_so) { /* it matches nothing: between any two bytes */
			at = (size_t)m.rm_so + 1;
			if ((size_t)m.rm_so == from || (size_t)m.rm_so >= one.len)
				continue;
		} else {
			at = (size_t)m.rm_eo;
		}
		args_add(a, slice_of(one.p + from, (size_t)m.rm_so - from));
		from = (size_t)m.rm_eo;
	}
	args_add(a, slice_of(one.p + from, one.len - from));
}

void each_input_record(const struct each_input *in, size_t index, struct each_args *args)
{
	size_t radix = in->n_records;
	for (size_t i = 0, next; i < in->n_sources; i = next) {
		/* The last source changes fastest. */
		size_t n = input_group(in, i, &next);
		radix /= n;
		size_t at = index / radix % n;
		for (size_t s = i; s < next; s++) {
			struct slice one = in->sources[s].v[at % in->sources[s].n];
			if (in->splits)
				args_split(args, in, one);
			else
				args_add(args, one);
		}
	}
}
