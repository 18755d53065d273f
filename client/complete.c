#include "client/complete.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/dispatch.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/methods.h"

static void complete_methods(struct complete *k)
{
	for (int i = 0; i < METHOD_MAX; i++)
		complete_offer(k, slice_str(methods[i].name), slice_str(methods[i].doc));
}

static void complete_signals(struct complete *k)
{
	for (int i = 1; i < 32; i++)
		if (sigabbrev_np(i))
			complete_offer(k, slice_str(sigabbrev_np(i)), slice_str(sigdescr_np(i)));
}

/* An alias is offered to who began to write one. */
static void complete_verbs_of(struct complete *k, const struct verb *const *table)
{
	for (; *table; table++) {
		complete_offer(k, slice_str((*table)->name), slice_str((*table)->help));
		if ((*table)->alias && k->word[0])
			complete_offer(k, slice_str((*table)->alias), slice_str((*table)->help));
	}
}

static void complete_verbs(struct complete *k)
{
	complete_verbs_of(k, verbs);
}

static void complete_subs(struct complete *k)
{
	const struct verb *v = k->operands.n ? verb_find(verbs, k->operands.v[0]) : NULL;
	if (v && v->subs)
		complete_verbs_of(k, v->subs);
}

static void complete_files(struct complete *k)
{
	k->others = "files";
}

static void complete_dirs(struct complete *k)
{
	k->others = "dirs";
}

static void complete_command(struct complete *k)
{
	if (k->command_at < 0)
		return;
	snprintf(k->command, sizeof(k->command), "command %d", k->command_at);
	k->others = k->command;
}

static void complete_variables(struct complete *k)
{
	for (char **e = environ; *e; e++)
		complete_offer(k, slice_of(*e, strcspn(*e, "=")), SLICE_NONE);
}

static void complete_nothing(struct complete *k)
{
	(void)k;
}

/* What a value is called in the tables, and where its candidates come from. */
static const struct {
	const char *meta;
	void (*fill)(struct complete *k);
} sources[] = {
	{ "RUN", complete_runs },
	{ "RUN.OP", complete_ops },
	{ "ID", complete_todos },
	{ "LIST", complete_lists },
	{ "GROUP", complete_groups },
	{ "METHOD", complete_methods },
	{ "SIG", complete_signals },
	{ "VERB", complete_verbs },
	{ "SUB", complete_subs },
	{ "FILE", complete_files },
	{ "PATH", complete_files },
	{ "DIR", complete_dirs },
	{ "CMD", complete_command },
	/* Of these only the user knows. */
	{ "NAME", complete_nothing },
	{ "TEXT", complete_nothing },
	{ "JSON", complete_nothing },
	{ "FIELD=VALUE", complete_nothing },
	{ "NAME=TEXT", complete_nothing },
	{ "FILE:LINE", complete_files },
	{ "REV", complete_nothing },
	{ "KEY", complete_nothing },
	{ "TAG", complete_nothing },
	{ "K=V", complete_nothing },
	{ "K", complete_variables },
	{ "D", complete_nothing },
	{ "N", complete_nothing },
	{ "F", complete_nothing },
	{ "C", complete_nothing },
	{ "REGEX", complete_nothing },
	{ "STR", complete_nothing },
	{ "WHEN,WHAT=N", complete_nothing },
	{ "N[,M]", complete_nothing },
};

static int source_of(struct slice meta)
{
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (slice_is(meta, sources[i].meta))
			return (int)i;
	return -1;
}

bool complete_knows(const char *meta)
{
	return source_of(slice_str(meta)) >= 0;
}

void complete_offer(struct complete *k, struct slice value, struct slice help)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	const char *begun = k->word + k->kept;
	if (value.len < strlen(begun) || memcmp(value.p, begun, strlen(begun)) != 0 || !value.len)
		return;
	buf_add(&line, k->word, k->kept);
	buf_addslice(&line, value);
	text_one_line(&k->lines, buf_slice(&line), 4096);
	if (help.len) {
		buf_addc(&k->lines, '\t');
		text_one_line(&k->lines, help, 80);
	}
	buf_addc(&k->lines, '\n');
}

/* "FILE|-", "status|start": a name of the table above, or words to write as they are. */
static void complete_meta(struct complete *k, struct slice meta)
{
	for (size_t i = 0, n; i < meta.len; i += n + 1) {
		for (n = 0; i + n < meta.len && meta.p[i + n] != '|';)
			n++;
		struct slice one = slice_of(meta.p + i, n);
		int source = source_of(one);
		if (source >= 0)
			sources[source].fill(k);
		else if (one.len && islower((unsigned char)one.p[0]))
			complete_offer(k, one, SLICE_NONE);
	}
}

/* ---- operands: what the usage calls them ---- */

/* "[RUN[.OP]...]" without its marks: "RUN.OP". *ret_more: it may be repeated. */
static void usage_name(struct slice token, struct buf *name, bool *ret_more)
{
	buf_clear(name);
	*ret_more = false;
	for (size_t i = 0; i < token.len; i++) {
		if (token.len - i >= 3 && memcmp(token.p + i, "...", 3) == 0) {
			*ret_more = true;
			i += 2;
		} else if (token.p[i] != '[' && token.p[i] != ']') {
			buf_addc(name, token.p[i]);
		}
	}
}

/* The name of operand `at` (from 0) in a usage line; empty where there is none. */
static void usage_operand(const char *usage, size_t at, struct buf *name)
{
	bool more = false, value_next = false;
	while (usage && *usage) {
		size_t len = strcspn(usage, " ");
		struct slice token = slice_of(usage, len);
		usage += len + (usage[len] == ' ');
		if (value_next) {
			value_next = false;
			continue;
		}
		usage_name(token, name, &more);
		if (name->len && name->p[0] == '-') {
			/* "[--]" stands alone, "-j N" has a value */
			value_next = token.p[token.len - 1] != ']';
			continue;
		}
		if (name->len && (at-- == 0 || more))
			return;
	}
	buf_clear(name);
}

static void complete_operand(struct complete *k)
{
	_cleanup_buf_ struct buf name = BUF_INIT;
	if (k->verb->subs) {
		complete_verbs_of(k, k->verb->subs);
		return;
	}
	usage_operand(k->verb->usage, k->operands.n, &name);
	complete_meta(k, buf_slice(&name));
}

/* ---- options ---- */

static int option_tables(const struct complete *k, const struct opt *tables[COMPLETE_GROUPS])
{
	int n = 0;
	if (k->verb && k->verb->options)
		tables[n++] = k->verb->options;
	if (k->parent && k->parent->options)
		tables[n++] = k->parent->options;
	tables[n++] = global_opts;
	return n;
}

static const struct opt *option_by_letter(const struct complete *k, char letter)
{
	const struct opt *tables[COMPLETE_GROUPS];
	int n = option_tables(k, tables);
	for (int i = 0; i < n; i++)
		for (const struct opt *r = tables[i]; r->name; r++)
			if (r->letter == letter)
				return r;
	return NULL;
}

/* The option called name[0..len), else the first that begins so. */
static const struct opt *option_by_name(const struct complete *k, const char *name, size_t len)
{
	const struct opt *tables[COMPLETE_GROUPS], *begins = NULL;
	int n = option_tables(k, tables);
	for (int i = 0; i < n; i++)
		for (const struct opt *r = tables[i]; r->name; r++) {
			if (strncmp(r->name, name, len) != 0)
				continue;
			if (r->name[len] == '\0')
				return r;
			begins = begins ? begins : r;
		}
	return begins;
}

/*
 * The option of "--name", "--name=va", "-x", "-xva" or "-abxva" (a, b are flags), NULL where there
 * is none. *ret_joined: the value in the same word, NULL: none.
 */
static const struct opt *option_find(const struct complete *k, const char *word,
				     const char **ret_joined)
{
	const struct opt *r = NULL;
	*ret_joined = NULL;
	if (word[1] == '-') {
		size_t len = strcspn(word + 2, "=");
		*ret_joined = word[2 + len] ? word + 2 + len + 1 : NULL;
		return option_by_name(k, word + 2, len);
	}
	for (const char *p = word + 1; *p; p++) {
		r = option_by_letter(k, *p);
		if (r && r->type == OPT_FLAG)
			continue;
		*ret_joined = r && p[1] ? p + 1 : NULL;
		return r;
	}
	return r;
}

static void complete_value(struct complete *k, const struct opt *r)
{
	for (const char *const *n = r->names; n && *n; n++)
		complete_offer(k, slice_str(*n), SLICE_NONE);
	if (!r->names && r->arg)
		complete_meta(k, slice_str(r->arg));
}

static void complete_option_names(struct complete *k)
{
	const struct opt *tables[COMPLETE_GROUPS];
	int n = option_tables(k, tables);
	for (int i = 0; i < n; i++)
		for (const struct opt *r = tables[i]; r->name; r++) {
			char name[64], letter[3] = { '-', r->letter, '\0' };
			snprintf(name, sizeof(name), "--%s", r->name);
			complete_offer(k, slice_str(name), slice_str(r->help));
			if (r->letter)
				complete_offer(k, slice_str(letter), slice_str(r->help));
		}
}

static void complete_option(struct complete *k)
{
	const char *joined;
	const struct opt *r = option_find(k, k->word, &joined);
	if (r && joined && r->type != OPT_FLAG) {
		k->kept = (size_t)(joined - k->word);
		complete_value(k, r);
	} else {
		complete_option_names(k);
	}
}

/* ---- the words before ---- */

/* What an option says about where to look. */
static void take_option(struct complete *k, const struct opt *r, const char *value)
{
	if (strcmp(r->name, "everywhere") == 0)
		k->everywhere = true;
	else if (strcmp(r->name, "list") == 0)
		k->list = value;
	else if (strcmp(r->name, "socket") == 0 && value) {
		free((char *)k->c->socket);
		k->c->socket = client_socket(value);
	} else if (strcmp(r->name, "directory") == 0 && value && chdir(value) < 0)
		k->others = "none"; /* it will be told when the line is run */
}

/* False: no such verb, and nothing to say. */
static bool take_operand(struct complete *k, const char *word, int at)
{
	const struct verb *const *table = k->verb ? k->verb->subs : verbs;
	if (!table) {
		if (k->verb->stop_at_operand && k->command_at < 0)
			k->command_at = at;
		strv_add(&k->operands, word);
		return true;
	}
	k->parent = k->verb;
	k->verb = verb_find(table, word);
	return k->verb != NULL;
}

/* The options that end at a command begin no more after it. */
static bool take_words(struct complete *k, const char *const *words, int n)
{
	const struct opt *pending = NULL;
	bool ended = false;
	for (int i = 0; i < n; i++) {
		const char *word = words[i];
		if (pending) {
			take_option(k, pending, word);
			pending = NULL;
		} else if (!ended && strcmp(word, "--") == 0) {
			ended = true;
		} else if (!ended && word[0] == '-' && word[1]) {
			const char *joined;
			const struct opt *r = option_find(k, word, &joined);
			if (r && r->type != OPT_FLAG && !joined)
				pending = r;
			else if (r)
				take_option(k, r, joined);
		} else if (!take_operand(k, word, i)) {
			return false;
		}
		ended = ended || k->command_at >= 0;
	}
	if (k->verb && k->verb->stop_at_operand && k->command_at < 0)
		k->command_at = n;
	if (pending)
		complete_value(k, pending);
	else if (!ended && k->word[0] == '-')
		complete_option(k);
	else if (k->verb)
		complete_operand(k);
	else
		complete_verbs(k);
	return true;
}

int complete_words(struct ctx *c, const char *const *words, int n)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct complete k = { .c = c,
			      .word = n ? words[n - 1] : "",
			      .command_at = -1,
			      .others = "none",
			      .lines = BUF_INIT };
	take_words(&k, words, n ? n - 1 : 0);
	buf_addf(&out, ":%s\n", k.others);
	buf_addslice(&out, buf_slice(&k.lines));
	strv_done(&k.operands);
	buf_done(&k.lines);
	return ctx_print(c, &out);
}
