#include "client/each.h"
#include "common/text.h"
#include "common/xalloc.h"

static struct each_part *template_part(struct each_template *t, enum each_what what)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 8;
		t->parts = xrealloc(t->parts, t->cap, sizeof(*t->parts));
	}
	struct each_part *p = &t->parts[t->n++];
	*p = (struct each_part){ .what = what };
	return p;
}

void each_template_done(struct each_template *t)
{
	free(t->parts);
}

/* An argument as `suffix` wants it. False: it is none of those. */
static bool template_arg(struct each_template *t, int64_t position, struct slice suffix)
{
	static const struct {
		const char *text;
		enum each_edit edit;
		bool plus;
	} edits[] = { { "", EDIT_NONE, false },
		      { ".", EDIT_NO_EXT, false },
		      { "/", EDIT_BASE, false },
		      { "//", EDIT_DIR, false },
		      { "/.", EDIT_BASE_NO_EXT, false },
		      { "..", EDIT_NO_EXT_2, true },
		      { "...", EDIT_NO_EXT_3, true },
		      { "/..", EDIT_BASE_NO_EXT_2, true },
		      { "/...", EDIT_BASE_NO_EXT_3, true },
		      { "+.", EDIT_EXT, true },
		      { "+..", EDIT_EXT_2, true },
		      { "+...", EDIT_EXT_3, true },
		      { "+/", EDIT_BEFORE_BASE, true } };
	for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
		if (!slice_is(suffix, edits[i].text) || (edits[i].plus && !t->plus))
			continue;
		struct each_part *p = template_part(t, EACH_ARG);
		p->edit = edits[i].edit;
		p->position = position;
		return true;
	}
	return false;
}

/* The name of a column, from --header. */
static bool template_name(struct each_template *t, struct slice in)
{
	for (size_t i = 0; t->names && i < t->names->n; i++) {
		struct slice name = t->names->v[i];
		if (name.len && name.len <= in.len && memcmp(in.p, name.p, name.len) == 0 &&
		    template_arg(t, (int64_t)i + 1, slice_of(in.p + name.len, in.len - name.len)))
			return true;
	}
	return false;
}

/* What stands between the braces. False: it is no replacement string, but text. */
static bool template_inside(struct each_template *t, struct slice in)
{
	size_t digits = in.len && in.p[0] == '-';
	int64_t position = 0;
	if (template_name(t, in))
		return true;
	if (slice_is(in, "#") || slice_is(in, "%")) {
		t->has_slot = t->has_slot || in.p[0] == '%';
		template_part(t, in.p[0] == '#' ? EACH_SEQ : EACH_SLOT);
		return true;
	}
	if (t->plus && slice_is(in, "##")) {
		template_part(t, EACH_TOTAL);
		return true;
	}
	while (digits < in.len && in.p[digits] >= '0' && in.p[digits] <= '9')
		digits++;
	if (digits &&
	    (!parse_int(slice_of(in.p, digits), -1000000, 1000000, &position) || !position))
		return false;
	return template_arg(t, position, slice_of(in.p + digits, in.len - digits));
}

/* The replacement string at p: its length, 0 if there is none. */
static size_t template_string(struct each_template *t, const char *p, const char *replace)
{
	size_t len = replace ? strlen(replace) : 0;
	if (len && strncmp(p, replace, len) == 0) {
		template_part(t, EACH_ARG);
		return len;
	}
	if (*p != '{' || (replace && p[1] == '}'))
		return 0;
	len = strcspn(p + 1, "{}");
	return p[1 + len] == '}' && template_inside(t, slice_of(p + 1, len)) ? len + 2 : 0;
}

static void template_text(struct each_template *t, const char *from, const char *to)
{
	if (to > from)
		template_part(t, EACH_TEXT)->text = slice_of(from, (size_t)(to - from));
}

/* One that --plus has and we have not, as {%.gz}: its length, else 0. */
static int template_lacks(const struct each_template *t, const char *p)
{
	size_t len = *p == '{' ? strcspn(p, "}") : 0, what;
	if (!t->plus || !len || !p[len])
		return 0;
	what = 1 + (p[1] == '-');
	what += strspn(p + what, "0123456789");
	return strchr(":#%/^,", p[what]) && what + 1 < len + (p[1] == '0') ? (int)len + 1 : 0;
}

int each_template_add(struct ctx *c, struct each_template *t, const char *word, const char *replace)
{
	const char *from = word, *p = word;
	const char *perl = strstr(word, "{=");
	if (perl && (!perl[2] || strstr(perl, "=}"))) /* it may go on in the next word */
		return fail(c, EXIT_USAGE,
			    "'{= perl expression =}' is not among what each can do: edit the "
			    "argument in the command itself");
	t->has_slot = t->has_slot || strstr(word, "PARALLEL_JOBSLOT");
	if (t->n)
		template_part(t, EACH_WORD);
	while (*p) {
		size_t before = t->n;
		bool blank = *p == ' ' || *p == '\t';
		size_t n = blank ? 1 : template_string(t, p, replace);
		int lacks = n ? 0 : template_lacks(t, p);
		if (lacks)
			return fail(c, EXIT_USAGE,
				    "'%.*s' of --plus is not among what each can do: edit the "
				    "argument in the command itself",
				    lacks, p);
		if (!n) {
			p++;
			continue;
		}
		/* The text goes before what was found behind it. */
		struct each_part found =
			before < t->n ? t->parts[--t->n] : (struct each_part){ .what = EACH_BLANK };
		template_text(t, from, p);
		if (blank)
			found.text = slice_of(p, 1);
		*template_part(t, found.what) = found;
		from = p += n;
	}
	template_text(t, from, p);
	return EXIT_OK;
}

bool each_template_replaces(const struct each_template *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->parts[i].what >= EACH_ARG)
			return true;
	return false;
}

static struct slice edit_base(struct slice s)
{
	const char *slash = memrchr(s.p, '/', s.len);
	return slash ? slice_of(slash + 1, s.len - (size_t)(slash + 1 - s.p)) : s;
}

/* Without its extension: from the last dot behind the last slash on. */
static struct slice edit_no_ext(struct slice s)
{
	struct slice base = edit_base(s);
	const char *dot = base.len ? memrchr(base.p, '.', base.len) : NULL;
	return dot ? slice_of(s.p, (size_t)(dot - s.p)) : s;
}

/* Where the last `n` extensions of its last part begin; at its end: there are not so many. */
static size_t ext_start(struct slice s, int n)
{
	for (size_t i = s.len; i > 0 && s.p[i - 1] != '/'; i--)
		if (s.p[i - 1] == '.' && --n == 0)
			return i - 1;
	return s.len;
}

static struct slice edit_exts_off(struct slice s, int n)
{
	return slice_of(s.p, ext_start(s, n));
}

/* Only them; nothing, where there are not so many. */
static struct slice edit_exts(struct slice s, int n)
{
	size_t at = MIN2(ext_start(s, n) + 1, s.len);
	return slice_of(s.p + at, s.len - at);
}

/* From the last dot on, wherever it stands. */
static struct slice edit_ext(struct slice s)
{
	const char *dot = s.len ? memrchr(s.p, '.', s.len) : NULL;
	size_t at = dot ? (size_t)(dot - s.p) + 1 : s.len;
	return slice_of(s.p + at, s.len - at);
}

static struct slice edit_before_base(struct slice s)
{
	const char *slash = s.len ? memrchr(s.p, '/', s.len) : NULL;
	return slice_of(s.p, slash ? (size_t)(slash - s.p) : 0);
}

/* As dirname(1). */
static struct slice edit_dir(struct slice s)
{
	while (s.len > 1 && s.p[s.len - 1] == '/')
		s.len--;
	const char *slash = memrchr(s.p, '/', s.len);
	if (!slash)
		return slice_str(".");
	s.len = (size_t)(slash - s.p);
	while (s.len && s.p[s.len - 1] == '/')
		s.len--;
	return s.len ? s : slice_str("/");
}

static struct slice edit(struct slice s, enum each_edit how)
{
	switch (how) {
	case EDIT_NONE:
		return s;
	case EDIT_NO_EXT:
		return edit_no_ext(s);
	case EDIT_BASE:
		return edit_base(s);
	case EDIT_DIR:
		return edit_dir(s);
	case EDIT_BASE_NO_EXT:
		return edit_no_ext(edit_base(s));
	case EDIT_NO_EXT_2:
	case EDIT_NO_EXT_3:
		return edit_exts_off(s, how == EDIT_NO_EXT_2 ? 2 : 3);
	case EDIT_BASE_NO_EXT_2:
	case EDIT_BASE_NO_EXT_3:
		return edit_exts_off(edit_base(s), how == EDIT_BASE_NO_EXT_2 ? 2 : 3);
	case EDIT_EXT:
		return edit_ext(s);
	case EDIT_EXT_2:
	case EDIT_EXT_3:
		return edit_exts(s, how == EDIT_EXT_2 ? 2 : 3);
	case EDIT_BEFORE_BASE:
		return edit_before_base(s);
	}
	return s;
}

/* What an expansion is made from. */
struct expand {
	const struct each_template *t;
	const struct each_args *args;
	size_t seq, slot;
	struct buf *b;
};

/* --trim */
static struct slice expand_trim(const struct each_template *t, struct slice s)
{
	for (; t->trim_left && s.len && each_is_blank(s.p[0]); s.p++)
		s.len--;
	while (t->trim_right && s.len && each_is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

static void expand_one(const struct expand *x, const struct each_part *p, size_t arg)
{
	struct slice s = edit(expand_trim(x->t, x->args->v[arg]), p->edit);
	if (x->t->quote_args)
		text_shell_word(x->b, s);
	else
		buf_addslice(x->b, s);
}

static void expand_position(const struct expand *x, const struct each_part *p)
{
	int64_t n = (int64_t)x->args->n, at = p->position > 0 ? p->position - 1 : n + p->position;
	if (at >= 0 && at < n)
		expand_one(x, p, (size_t)at);
}

/* `arg`: the one that {} stands for; SIZE_MAX: all of them. */
static void expand_part(const struct expand *x, const struct each_part *p, size_t arg)
{
	switch (p->what) {
	case EACH_TEXT:
	case EACH_BLANK:
		buf_addslice(x->b, p->text);
		return;
	case EACH_WORD:
		buf_addc(x->b, ' ');
		return;
	case EACH_SEQ:
		buf_addf(x->b, "%zu", x->seq);
		return;
	case EACH_TOTAL:
		buf_addf(x->b, "%zu", *x->t->total);
		return;
	case EACH_SLOT:
		buf_addf(x->b, "%zu", x->slot);
		return;
	case EACH_ARG:
		break;
	}
	if (p->position) {
		expand_position(x, p);
		return;
	}
	size_t first = arg == SIZE_MAX ? 0 : arg, end = arg == SIZE_MAX ? x->args->n : arg + 1;
	for (size_t i = first; i < end; i++) {
		if (i > first)
			buf_addc(x->b, ' ');
		expand_one(x, p, i);
	}
}

static bool part_repeats(const struct each_part *p)
{
	return p->what == EACH_ARG && !p->position;
}

/* The word of parts [from, to) under -X: once for each argument if it holds {}. */
static void expand_word(const struct expand *x, size_t from, size_t to)
{
	bool repeats = false;
	for (size_t i = from; i < to; i++)
		repeats = repeats || part_repeats(&x->t->parts[i]);
	for (size_t arg = 0; arg < (repeats ? x->args->n : 1); arg++) {
		if (arg)
			buf_addc(x->b, ' ');
		for (size_t i = from; i < to; i++)
			expand_part(x, &x->t->parts[i], arg);
	}
}

static void expand_context(const struct expand *x)
{
	const struct each_template *t = x->t;
	for (size_t i = 0, from = 0; i <= t->n; i++) {
		if (i < t->n && t->parts[i].what != EACH_BLANK && t->parts[i].what != EACH_WORD)
			continue;
		expand_word(x, from, i);
		if (i < t->n)
			expand_part(x, &t->parts[i], SIZE_MAX);
		from = i + 1;
	}
}

/* --quote: each word of the line as one word of the shell. */
static void expand_quoted(const struct expand *x)
{
	_cleanup_buf_ struct buf word = BUF_INIT;
	struct expand in = *x;
	in.b = &word;
	for (size_t i = 0; i <= x->t->n; i++) {
		if (i < x->t->n && x->t->parts[i].what != EACH_WORD) {
			expand_part(&in, &x->t->parts[i], SIZE_MAX);
			continue;
		}
		text_shell_word(x->b, buf_slice(&word));
		if (i < x->t->n)
			buf_addc(x->b, ' ');
		buf_clear(&word);
	}
}

void each_template_expand(const struct each_template *t, const struct each_args *args, size_t seq,
			  size_t slot, struct buf *b)
{
	struct expand x = { .t = t, .args = args, .seq = seq, .slot = slot, .b = b };
	if (t->quote_words)
		expand_quoted(&x);
	else if (t->context)
		expand_context(&x);
	else
		for (size_t i = 0; i < t->n; i++)
			expand_part(&x, &t->parts[i], SIZE_MAX);
}

size_t each_template_cost(const struct each_template *t, const struct each_args *args)
{
	_cleanup_buf_ struct buf with = BUF_INIT, without = BUF_INIT;
	const struct each_args none = { 0 };
	each_template_expand(t, args, 1, 1, &with);
	each_template_expand(t, &none, 1, 1, &without);
	return with.len - MIN2(without.len, with.len) + 1;
}
