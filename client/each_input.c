#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "client/each.h"
#include "common/text.h"
#include "common/xalloc.h"

#define RECORDS_MAX                                                                                \
	((size_t)1 << 28) /* more is a slip of the keyboard: crossing a list with itself */

static const char *input_sep(const struct each_options *o)
{
	return o->arg_sep ? o->arg_sep : ":::";
}

static const char *input_file_sep(const struct each_options *o)
{
	return o->arg_file_sep ? o->arg_file_sep : "::::";
}

/* Is it `sep`, or that and a plus? */
static bool word_is(const char *word, const char *sep)
{
	size_t len = strlen(sep);
	return strncmp(word, sep, len) == 0 && (!word[len] || strcmp(word + len, "+") == 0);
}

bool each_is_separator(const struct each_options *o, const char *word)
{
	return word_is(word, input_sep(o)) || word_is(word, input_file_sep(o));
}

static struct each_source *input_source(struct each_input *in, bool linked)
{
	in->sources = xrealloc(in->sources, in->n_sources + 1, sizeof(*in->sources));
	struct each_source *s = &in->sources[in->n_sources];
	*s = (struct each_source){ .text = BUF_INIT, .linked = linked && in->n_sources > 0 };
	in->n_sources++;
	return s;
}

/* Those of the line: each separator begins a source, of `::::` each file is one. */
static int input_words(struct ctx *c, struct each_input *in, const char *const *words,
		       const struct each_options *o, char delimiter)
{
	int status = EXIT_OK;
	while (*words && status == EXIT_OK) {
		const char *how = *words++;
		bool file = word_is(how, input_file_sep(o));
		const char *sep = file ? input_file_sep(o) : input_sep(o);
		bool linked = o->link || how[strlen(sep)] == '+';
		if (!file) {
			struct each_source *s = input_source(in, linked);
			while (*words && !each_is_separator(o, *words))
				each_args_add(&s->args, slice_str(*words++));
			continue;
		}
		while (*words && !each_is_separator(o, *words) && status == EXIT_OK)
			status = each_source_read(c, input_source(in, linked), *words++, delimiter);
	}
	return status;
}

/* An empty source among others counts as one that holds an empty argument. */
static void input_fill_empty(struct each_input *in)
{
	for (size_t i = 0; i < in->n_sources && in->n_sources > 1; i++)
		if (in->sources[i].args.n == 0)
			each_args_add(&in->sources[i].args, slice_str(""));
}

/* How many records the group of linked sources from `first` on makes; *ret_next: the one behind. */
static size_t input_group(const struct each_input *in, size_t first, size_t *ret_next)
{
	size_t n = in->sources[first].args.n, i = first + 1;
	for (; i < in->n_sources && in->sources[i].linked; i++)
		n = in->wraps ? MAX2(n, in->sources[i].args.n) : MIN2(n, in->sources[i].args.n);
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
		each_args_add(a, slice_of(one.p + from, (size_t)m.rm_so - from));
		from = (size_t)m.rm_eo;
	}
	each_args_add(a, slice_of(one.p + from, one.len - from));
}

/* --header: the first line of each source names its columns; with 0 the files' names do. What the
 * expression besides says is for --pipe in parallel, too. */
static void input_header(struct each_input *in, const char *header)
{
	for (size_t i = 0; header && i < in->n_sources; i++) {
		struct each_source *s = &in->sources[i];
		struct slice line;
		if (strcmp(header, "0") == 0) {
			each_args_add(&in->names, slice_str(s->file ? s->file : ""));
			continue;
		}
		if (!each_source_head(s, &line))
			continue;
		if (line.len && line.p[line.len - 1] == '\r')
			line.len--;
		args_split(&in->names, in, line);
	}
}

static int input_shuffle(struct ctx *c, struct each_input *in)
{
	unsigned short seed[3];
	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		return fail(c, EXIT_RUN, "--shuf: %s", errno_text(errno));
	in->order = xcalloc(MAX2(in->n_records, (size_t)1), sizeof(*in->order));
	for (size_t i = 0; i < in->n_records; i++) {
		size_t at = (size_t)(erand48(seed) * (double)(i + 1));
		in->order[i] = in->order[at];
		in->order[at] = (uint32_t)i;
	}
	return EXIT_OK;
}

int each_input_read(struct ctx *c, const struct each_options *o, const char *const *words,
		    struct each_input *in)
{
	char delimiter;
	in->wraps = o->link;
	int status = each_delimiter(c, o, &delimiter);
	if (status == EXIT_OK && (o->colsep || o->header))
		status = input_colsep(c, o->colsep ? o->colsep : "\t", in);
	for (size_t i = 0; i < o->files.n && status == EXIT_OK; i++)
		status = each_source_read(c, input_source(in, o->link), o->files.v[i], delimiter);
	if (status == EXIT_OK)
		status = input_words(c, in, words, o, delimiter);
	if (status == EXIT_OK && !in->n_sources)
		status = each_source_read(c, input_source(in, false), "-", delimiter);
	if (status)
		return status;
	input_header(in, o->header);
	for (size_t i = 0; i < in->n_sources; i++)
		each_source_tidy(&in->sources[i], o);
	input_fill_empty(in);
	status = input_count(c, in);
	return status == EXIT_OK && o->shuffle ? input_shuffle(c, in) : status;
}

void each_input_done(struct each_input *in)
{
	for (size_t i = 0; i < in->n_sources; i++)
		each_source_done(&in->sources[i]);
	free(in->sources);
	free(in->names.v);
	free(in->order);
	if (in->splits)
		regfree(&in->colsep);
}

void each_input_record(const struct each_input *in, size_t index, struct each_args *args)
{
	size_t radix = in->n_records;
	index = in->order ? in->order[index] : index;
	for (size_t i = 0, next; i < in->n_sources; i = next) {
		/* The last source changes fastest. */
		size_t n = input_group(in, i, &next);
		radix /= n;
		size_t at = index / radix % n;
		for (size_t s = i; s < next; s++) {
			struct slice one = in->sources[s].args.v[at % in->sources[s].args.n];
			if (in->splits)
				args_split(args, in, one);
			else
				each_args_add(args, one);
		}
	}
}
