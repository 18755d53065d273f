#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/each.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"

void each_args_add(struct each_args *a, struct slice one)
{
	if (a->n == a->cap) {
		a->cap = a->cap ? a->cap * 2 : 8;
		a->v = xrealloc(a->v, a->cap, sizeof(*a->v));
	}
	a->v[a->n++] = one;
}

/* What -d says: one character, or one of the escapes people write. */
int each_delimiter(struct ctx *c, const struct each_options *o, char *ret)
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
		each_args_add(&s->args, slice_of(rest.p, n));
		rest = slice_of(rest.p + n + (at != NULL), rest.len - n - (at != NULL));
	}
}

/* All of a file, or of stdin ("-"). */
int each_source_read(struct ctx *c, struct each_source *s, const char *name, char delimiter)
{
	bool is_stdin = strcmp(name, "-") == 0;
	s->file = name;
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

bool each_source_head(struct each_source *s, struct slice *ret)
{
	if (!s->args.n)
		return false;
	*ret = s->args.v[0];
	memmove(s->args.v, s->args.v + 1, --s->args.n * sizeof(*s->args.v));
	return true;
}

static bool slice_is_blank(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!each_is_blank(s.p[i]))
			return false;
	return true;
}

/* Does the next one belong to it? */
static bool source_continues(const struct each_source *s, size_t i)
{
	struct slice one = s->args.v[i];
	return i + 1 < s->args.n && one.len && each_is_blank(one.p[one.len - 1]);
}

/* An argument and those that belong to it; *at goes behind them. In `joined` there is room. */
static struct slice source_join(struct each_source *s, size_t *at)
{
	size_t from = s->joined.len, first = *at;
	while (source_continues(s, *at))
		buf_addslice(&s->joined, s->args.v[(*at)++]);
	struct slice last = s->args.v[(*at)++];
	if (*at == first + 1)
		return last;
	buf_addslice(&s->joined, last);
	return slice_of(s->joined.p + from, s->joined.len - from);
}

/* How much room joining takes at most. */
static size_t source_bytes(const struct each_source *s)
{
	size_t bytes = 0;
	for (size_t i = 0; i < s->args.n; i++)
		bytes += s->args.v[i].len;
	return bytes;
}

void each_source_tidy(struct each_source *s, const struct each_options *o)
{
	size_t kept = 0;
	if (o->lines.v > 0)
		buf_reserve(&s->joined, source_bytes(s)); /* now, so that slices of it stay good */
	for (size_t i = 0; i < s->args.n;) {
		if (o->no_empty && slice_is_blank(s->args.v[i])) {
			i++;
			continue;
		}
		s->args.v[kept++] = o->lines.v > 0 ? source_join(s, &i) : s->args.v[i++];
	}
	s->args.n = kept;
}

void each_source_done(struct each_source *s)
{
	free(s->args.v);
	buf_done(&s->text);
	buf_done(&s->joined);
}
