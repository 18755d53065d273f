/* The lines of a document: headers, ops, preamble. What is none of these is an error once the first
 * header or op was seen. */
#include "client/notation_impl.h"

#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/errors.h"
#include "proto/limits.h"

#define NOTICE_TEXT_MAX 100

static void notation_tell(struct nv_scope *sc, const char *line)
{
	if (sc->options->notice)
		sc->options->notice(sc->options->notice_arg, line);
	else
		fprintf(stderr, "%s\n", line);
}

void notation_notice(struct nv_scope *sc, const char *at, struct slice text)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	if (at) {
		struct src_place place = src_place(&sc->src, at);
		buf_addf(&line, "%s:%u:%u: skipped: ", sc->src.name, place.line, place.col);
	} else {
		buf_addf(&line, "%s: skipped: ", sc->src.name);
	}
	text_one_line(&line, text, NOTICE_TEXT_MAX);
	notation_tell(sc, buf_str(&line));
}

void notation_places_done(struct notation_places *p)
{
	free(p->messages);
	free(p->ops);
	free(p->first_op);
	*p = (struct notation_places)NOTATION_PLACES_INIT;
}

static uint32_t notation_offset(const struct notation *n, const char *at)
{
	return (uint32_t)(at - n->sc.src.begin);
}

/* Room for one more of n, doubling. */
static uint32_t *places_grow(uint32_t *p, size_t n)
{
	if (n & (n - 1))
		return p;
	return xrealloc(p, n ? 2 * n : 1, sizeof(*p));
}

/* ---- messages ---- */

static enum note notation_head_keys(struct notation *n, json_t *message)
{
	struct nv_scope *sc = &n->sc;
	struct nv *keys;
	const char *back = sc->src.p;
	if (!n->head.keys)
		return NOTE_OK;
	sc->src.p = n->head.keys;
	enum note r = nv_parse(sc, &keys);
	sc->src.p = back;
	if (r == NOTE_OK && !nv_has_unbound(keys))
		r = map_message_keys(sc, keys, message);
	return r;
}

/* A message comes to be with its first op. */
static enum note notation_open_message(struct notation *n, const char *at)
{
	struct slice label = n->has_head ? n->head.label : SLICE_NONE;
	_cleanup_json_ json_t *message = json_object();
	if (n->message)
		return NOTE_OK;
	if (label.p)
		json_object_set_new_nocheck(message, "name",
					    json_stringn_nocheck(label.p, label.len));
	if (n->has_head) {
		enum note r = notation_head_keys(n, message);
		if (r)
			return r;
	}
	json_object_set_new_nocheck(message, "ops", json_array());
	struct notation_places *p = &n->places;
	p->messages = places_grow(p->messages, p->n_messages);
	p->first_op = places_grow(p->first_op, p->n_messages);
	p->messages[p->n_messages] = notation_offset(n, n->has_head ? n->head.at : at);
	p->first_op[p->n_messages++] = (uint32_t)p->n_ops;
	n->message = message;
	json_array_append_new(n->messages, TAKE_PTR(message));
	return NOTE_OK;
}

static void notation_add_op(struct notation *n, const char *at, json_t *op)
{
	struct notation_places *p = &n->places;
	p->ops = places_grow(p->ops, p->n_ops);
	p->ops[p->n_ops++] = notation_offset(n, at);
	json_array_append_new(json_object_get(n->message, "ops"), op);
}

static void notation_begin(struct notation *n, const struct head *head)
{
	n->head = *head;
	n->has_head = true;
	n->message = NULL;
	n->started = true;
}

/* ---- what is skipped ---- */

/*
 * Something soft, from `at` to `past`, was stepped over. With --skip-unknown it is told of, and its
 * unbound names are forgotten. Else the error stands, but reading goes on, so that it comes with
 * all names that are not bound.
 */
static enum note notation_skipped(struct notation *n, const char *at, const char *past,
				  size_t unbound)
{
	struct nv_scope *sc = &n->sc;
	while (past > at && (char_is_blank(past[-1]) || past[-1] == '\n'))
		past--;
	sc->depth = 0;
	if (sc->options->skip_unknown) {
		notation_notice(sc, at, slice_of(at, (size_t)(past - at)));
		nv_forget_unbound(sc, unbound);
	} else if (n->n_soft++ == 0) {
		n->soft = *sc->e;
	}
	return NOTE_OK;
}

/* A line, from `at` on, that is nothing we know. */
static enum note notation_stray(struct notation *n, const char *at, const char *what)
{
	struct src *s = &n->sc.src;
	s->p = at;
	struct slice text = src_line(s);
	src_skip_line(s);
	nv_soft(&n->sc, at, "%s (--skip-unknown skips it)", what);
	return notation_skipped(n, at, text.p + text.len, n->sc.n_unbound);
}

/* Text with an op in it: none of the op may be read as lines of their own, so that it is stepped
 * over whole. */
static enum note notation_buried(struct notation *n, const char *op)
{
	struct src *s = &n->sc.src;
	const char *line = s->p;
	nv_soft(&n->sc, op,
		"an op inside other text: write it on a line of its own, or make the text a "
		"comment (--skip-unknown "
		"skips it)");
	s->p = op;
	src_ident(s);
	op_skip(s);
	struct slice rest = src_line(s);
	src_skip_line(s);
	n->started = true;
	return notation_skipped(n, line, rest.p + rest.len, n->sc.n_unbound);
}

/* ---- ops ---- */

static enum note notation_known_op(struct notation *n, const struct op_look *look)
{
	struct nv_scope *sc = &n->sc;
	struct op_args args;
	json_t *op = NULL;
	enum note r = op_parse_args(sc, &args);
	if (r == NOTE_OK)
		r = op_map(sc, look->form, &args, look->at, &op);
	if (r == NOTE_OK)
		r = notation_open_message(n, look->at);
	if (r == NOTE_OK && op)
		notation_add_op(n, look->at, op);
	else
		json_decref(op);
	return r;
}

/* The op just looked at; one that cannot be run is stepped over. */
static enum note notation_op(struct notation *n, const struct op_look *look)
{
	struct nv_scope *sc = &n->sc;
	size_t unbound = sc->n_unbound;
	const char *args = sc->src.p;
	n->started = true;
	enum note r = look->kind == LOOK_KNOWN ? notation_known_op(n, look) : op_unknown(sc, look);
	arena_reset(&sc->passing);
	if (r != NOTE_SOFT)
		return r;
	sc->src.p = args;
	if (!op_skip(&sc->src))
		src_skip_line(&sc->src);
	return notation_skipped(n, look->at, sc->src.p, unbound);
}

/* What may follow an op on its line: separators, further ops, a comment. */
static enum note notation_ops(struct notation *n, struct op_look *look)
{
	struct src *s = &n->sc.src;
	for (;;) {
		enum note r = notation_op(n, look);
		if (r)
			return r;
		/* A line that was skipped as a whole. */
		if (s->p > s->begin && s->p[-1] == '\n')
			return NOTE_OK;
		src_skip_blanks(s);
		while (src_peek(s) == ',' || src_peek(s) == ';') {
			s->p++;
			src_skip_blanks(s);
		}
		if (src_at_eol(s))
			return NOTE_OK;
		if (src_at_comment(s)) {
			if (src_skip_comment(s, n->sc.e))
				return NOTE_ERROR;
			src_skip_blanks(s);
			if (src_at_eol(s))
				return NOTE_OK;
		}
		const char *at = s->p;
		if (op_look(s, true, look) == LOOK_NONE)
			return notation_stray(
				n, at, "text after an op: put // before it if it is a comment");
	}
}

/* A comment at the end of a line is never a header. */
static enum note notation_end_comment(struct notation *n)
{
	src_skip_blanks(&n->sc.src);
	if (!src_at_comment(&n->sc.src))
		return NOTE_OK;
	return src_skip_comment(&n->sc.src, n->sc.e) ? NOTE_ERROR : NOTE_OK;
}

/* ---- preamble ---- */

bool notation_at_const(const struct src *at)
{
	static const char *const words[] = { "const", "let", "var" };
	struct src s = *at;
	struct slice word = src_ident(&s);
	bool is_one = false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		is_one |= word.p && slice_is(word, words[i]);
	if (!is_one || !char_is_blank(src_peek(&s)))
		return false;
	src_skip_blanks(&s);
	if (!src_ident(&s).p)
		return false;
	src_skip_blanks(&s);
	return src_peek(&s) == '=' && src_peek_at(&s, 1) != '=' && src_peek_at(&s, 1) != '>';
}

static enum note notation_const_value(struct notation *n, struct nv **ret)
{
	struct nv_scope *sc = &n->sc;
	sc->arena = &sc->kept;
	sc->depth = 1;
	enum note r = nv_space(sc, NULL);
	if (r == NOTE_OK)
		r = nv_parse(sc, ret);
	sc->depth = 0;
	sc->arena = &sc->passing;
	if (r)
		return r;
	src_skip_blanks(&sc->src);
	while (src_peek(&sc->src) == ';' || src_peek(&sc->src) == ',')
		sc->src.p++;
	src_skip_blanks(&sc->src);
	if (src_at_eol(&sc->src) || src_at_comment(&sc->src))
		return NOTE_OK;
	return nv_soft(
		sc, sc->src.p,
		"text after the value of a const; only literals, \"a\" + \"b\", [...].join() and "
		"JSON.stringify() are worked out");
}

/* A const whose value is no plain one: an error only where the name is used; before the first
 * header it is prose. */
static enum note notation_const_odd(struct notation *n, const char *at, struct slice name,
				    size_t unbound)
{
	struct src *s = &n->sc.src;
	struct nv v = { .type = NV_UNBOUND, .no_value = true, .at = at };
	struct src line = *s;
	line.p = at;
	const char *op = op_inside_line(&line);
	nv_forget_unbound(&n->sc, unbound);
	if (op) {
		s->p = at;
		return notation_buried(n, op);
	}
	nv_bind(&n->sc, name, &v);
	if (n->started)
		return notation_stray(n, at,
				      "this value is not worked out: a const is a literal, \"a\" + "
				      "\"b\", [...].join() or "
				      "JSON.stringify()");
	s->p = at;
	src_skip_line(s);
	return NOTE_OK;
}

static enum note notation_const(struct notation *n)
{
	struct src *s = &n->sc.src;
	const char *at = s->p;
	size_t unbound = n->sc.n_unbound;
	struct nv *v;
	src_ident(s);
	src_skip_blanks(s);
	struct slice name = src_ident(s);
	src_skip_blanks(s);
	s->p++;
	enum note r = notation_const_value(n, &v);
	if (r == NOTE_SOFT)
		return notation_const_odd(n, at, name, unbound);
	if (r)
		return r;
	nv_bind(&n->sc, name, v);
	return notation_end_comment(n);
}

bool notation_at_batch(const struct src *at)
{
	struct src s = *at;
	struct slice word = src_ident(&s);
	if (!word.p || !slice_is(word, "Batch"))
		return false;
	src_skip_blanks(&s);
	return src_peek(&s) == '{' || (src_peek(&s) == '(' && src_peek_at(&s, 1) == '{');
}

/* Batch { key: value, ... } or Batch({...}). */
static enum note notation_batch(struct notation *n)
{
	struct nv_scope *sc = &n->sc;
	struct nv *keys = NULL;
	const char *at = sc->src.p;
	if (n->started)
		return nv_error(sc, at,
				"Batch { ... } belongs before the first header and the first op");
	if (n->batch_at)
		return nv_error(sc, at, "Batch { ... } is given twice");
	src_ident(&sc->src);
	src_skip_blanks(&sc->src);
	enum note r = nv_parse(sc, &keys);
	if (r == NOTE_OK && keys->type != NV_OBJECT)
		r = nv_error(sc, at, "Batch takes an object: Batch { name: \"nightly\" }");
	if (r == NOTE_OK && !nv_has_unbound(keys))
		r = map_batch_keys(sc, keys, n->batch);
	n->batch_at = at;
	arena_reset(&sc->passing);
	return r ? r : notation_end_comment(n);
}

/* ---- lines ---- */

static enum note notation_header(struct notation *n, const struct head *head)
{
	struct src *s = &n->sc.src;
	struct op_look look;
	if (head_is_placeholder(head))
		return notation_stray(n, head->at,
				      "a placeholder stands here: write out what it stands for");
	notation_begin(n, head);
	src_skip_blanks(s);
	enum note r = notation_end_comment(n);
	src_skip_blanks(s);
	if (r || src_at_eol(s))
		return r;
	const char *at = s->p;
	if (op_look(s, true, &look) != LOOK_NONE)
		return notation_ops(n, &look);
	return notation_stray(n, at,
			      "text after a header: write it in brackets, as in Message 1: [text], "
			      "or as a comment");
}

/* A line with a colon after its label is no header where prose may stand, if it only defines a
 * link. */
static bool notation_is_prose_header(const struct notation *n, const struct head *head)
{
	struct slice rest = src_line(&n->sc.src);
	if (n->started || head->clean || head->word != HEAD_NONE)
		return false;
	return memmem(rest.p, rest.len, "://", 3) || rest.p[0] == '<' || rest.p[0] == '/' ||
	       head->label.p[0] == '^';
}

/*
 * Before the first header prose may stand, but not what was meant to be something else: the error's
 * text, or NULL. An op's name that is an English word too (Read, Write, Edit) begins prose as well.
 */
static const char *notation_meant(const struct src *at)
{
	static const char *const names[] = { "Bash", "Exec", "TodoWrite", "TodoRead",
					     "TaskCreate" };
	struct src s = *at;
	while (s.p < s.end && strchr("-*+ \t", *s.p))
		s.p++;
	struct slice line = src_line(&s);
	if (src_ellipsis(&s))
		return "a placeholder stands here: write out what it stands for";
	const char *close = line.len && line.p[0] == '[' ? memrchr(line.p, ']', line.len) : NULL;
	struct slice tail =
		close ? slice_of(close + 1, (size_t)(line.p + line.len - close - 1)) : SLICE_NONE;
	while (tail.len && strchr(" \t\r", tail.p[tail.len - 1]))
		tail.len--;
	if (tail.len && tail.p[tail.len - 1] == ':' &&
	    (tail.len == 1 || tail.p[tail.len - 2] == '}'))
		return "no header: a label has no quotes and no brackets or braces, and 90 "
		       "characters at most";
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t len = strlen(names[i]);
		if (line.len >= len && memcmp(line.p, names[i], len) == 0 &&
		    (line.len == len || strchr(" \t:[", line.p[len])))
			return "no op as it stands: write Bash(\"command\"), or put // before it "
			       "if it is a comment";
	}
	return NULL;
}

static enum note notation_prose(struct notation *n)
{
	struct src *s = &n->sc.src;
	const char *op = op_inside_line(s);
	if (op)
		return notation_buried(n, op);
	const char *meant = n->started ? NULL : notation_meant(s);
	if (meant)
		return notation_stray(n, s->p, meant);
	if (!n->started) {
		src_skip_line(s);
		return NOTE_OK;
	}
	return notation_stray(
		n, s->p,
		src_ellipsis(s)
			? "a placeholder stands here: write out what it stands for"
			: "neither op, header nor comment: put // before it if it is a comment");
}

static enum note notation_comment(struct notation *n)
{
	struct head head;
	if (head_scan_comment(&n->sc.src, &head))
		notation_begin(n, &head);
	return src_skip_comment(&n->sc.src, n->sc.e) ? NOTE_ERROR : NOTE_OK;
}

static enum note notation_line(struct notation *n)
{
	struct src *s = &n->sc.src;
	struct op_look look;
	struct head head;
	const char *at = s->p;
	if (src_at_comment(s))
		return notation_comment(n);
	if (notation_at_const(s))
		return notation_const(n);
	if (notation_at_batch(s))
		return notation_batch(n);
	if (op_look(s, n->started, &look) != LOOK_NONE)
		return notation_ops(n, &look);
	if (head_scan(s, &head) && !notation_is_prose_header(n, &head))
		return notation_header(n, &head);
	s->p = at;
	return notation_prose(n);
}

enum note notation_stretch(struct notation *n)
{
	struct src *s = &n->sc.src;
	n->message = NULL;
	n->has_head = false;
	for (;;) {
		src_skip_blanks(s);
		if (s->p == s->end)
			return NOTE_OK;
		if (*s->p == '\n') {
			s->p++;
			continue;
		}
		enum note r = notation_line(n);
		if (r)
			return r;
	}
}

/* ---- the whole ---- */

#define UNBOUND_TEXT_MAX 480

/* Appends all names with their places; returns the length of what an error has room for. */
static size_t notation_list_unbound(struct nv_scope *sc, struct buf *list)
{
	size_t fits = 0;
	for (size_t i = 0; i < sc->n_unbound; i++) {
		const struct nv_unbound *u = &sc->unbound[i];
		struct src_place place = src_place(&sc->src, u->at);
		buf_addf(list, "%s%s%s%s (%u:%u%s)", i ? ", " : "", u->template ? "${" : "",
			 u->name, u->template ? "}" : "", place.line, place.col,
			 u->const_at ? ", its const is no plain value" : "");
		if (list->len <= UNBOUND_TEXT_MAX)
			fits = list->len;
	}
	return fits;
}

/* "2 names are not bound: ...; bind with ..." A list too long for an error goes out by itself
 * first. */
static void notation_unbound_text(struct nv_scope *sc, struct buf *text)
{
	_cleanup_buf_ struct buf list = BUF_INIT;
	const char *first = sc->unbound[0].name;
	bool template = false;
	for (size_t i = 0; i < sc->n_unbound; i++)
		template |= sc->unbound[i].template;
	size_t fits = notation_list_unbound(sc, &list);
	if (fits < list.len) {
		_cleanup_free_ char *line =
			xasprintf("%s: not bound: %s", sc->src.name, buf_str(&list));
		notation_tell(sc, line);
	}
	buf_addf(text, "%zu name%s not bound: %.*s%s", sc->n_unbound,
		 sc->n_unbound == 1 ? " is" : "s are", (int)fits, buf_str(&list),
		 fits < list.len ? ", ..." : "");
	buf_addf(text,
		 "; bind with --define %.60s=TEXT, --define %.60s=@FILE or, above, const %.60s = "
		 "\"...\"",
		 first, first, first);
	if (template)
		buf_adds(text, "; in backticks write \\${name}, or give --allow-template, to leave "
			       "it to the shell");
}

/* What was stepped over, and all names that nothing binds, as one error; 0 where there is neither.
 */
static int notation_trouble(struct notation *n)
{
	struct nv_scope *sc = &n->sc;
	_cleanup_buf_ struct buf text = BUF_INIT;
	if (n->n_soft == 0 && sc->n_unbound == 0)
		return 0;
	if (sc->n_unbound > 0)
		notation_unbound_text(sc, &text);
	if (n->n_soft == 0)
		return src_error(&sc->src, sc->unbound[0].at, sc->e, "%s", buf_str(&text));
	*sc->e = n->soft;
	size_t len = strlen(sc->e->text);
	char more[40] = "";
	if (n->n_soft > 1)
		snprintf(more, sizeof(more), "; %u more such place%s", n->n_soft - 1,
			 n->n_soft == 2 ? "" : "s");
	snprintf(sc->e->text + len, sizeof(sc->e->text) - len, "%s%s%s", more,
		 text.len ? "; moreover " : "", buf_str(&text));
	return 1;
}

static int notation_check_text(const char *name, struct slice text, struct err *e)
{
	size_t good = 0;
	struct src s;
	if (text.len > LIMIT_NOTATION_BYTES)
		return err_set(e, E_LIMIT, "%s: %zu bytes of notation, the limit is %u", name,
			       text.len, LIMIT_NOTATION_BYTES);
	for (size_t n; good < text.len; good += n)
		if ((n = utf8_len(slice_of(text.p + good, text.len - good))) == 0)
			break;
	if (good == text.len)
		return 0;
	src_init(&s, name, text);
	return src_error(&s, text.p + good, e,
			 "byte 0x%02x is not UTF-8: give such bytes as {$bin: \"base64\"} or with "
			 "--define NAME=@FILE",
			 (unsigned char)text.p[good]);
}

static int notation_finish(struct notation *n, json_t **ret_batch,
			   struct notation_places *ret_places)
{
	if (notation_trouble(n))
		return 1;
	if (json_array_size(n->messages) == 0)
		return err_set(n->sc.e, E_PARAMS,
			       "%s: no op found; an op is a line as Bash(\"make\")",
			       n->sc.src.name);
	const char *at = n->batch_at ? n->batch_at : n->sc.src.begin + n->places.ops[0];
	n->places.batch = notation_offset(n, at);
	json_object_set_nocheck(n->batch, "messages", n->messages);
	*ret_batch = json_incref(n->batch);
	if (ret_places) {
		*ret_places = n->places;
		n->places = (struct notation_places)NOTATION_PLACES_INIT;
	}
	return 0;
}

static enum note notation_document(struct notation *n)
{
	const char *block = n->sc.options->block;
	if (md_is_document(n->sc.src))
		return md_parse(n);
	if (block && strcmp(block, "all") != 0 && strcmp(block, "1") != 0)
		return nv_error(
			&n->sc, NULL,
			"--block %s: this is no markdown document: it has no blocks to choose from",
			block);
	return notation_stretch(n);
}

int notation_parse(const char *name, struct slice text, const struct notation_options *options,
		   json_t **ret_batch, struct notation_places *ret_places, struct err *e)
{
	struct err sink = ERR_INIT;
	struct notation n = { .batch = json_object(), .messages = json_array() };
	e = e ? e : &sink;
	nv_scope_init(&n.sc, name, text, options, e);
	int r = notation_check_text(name, text, e);
	if (r == 0)
		r = nv_scope_define(&n.sc);
	if (r == 0)
		r = notation_document(&n) != NOTE_OK;
	/* After something was stepped over a later error may only come of that: the first one
	 * counts. */
	if (r && n.n_soft > 0)
		r = notation_trouble(&n);
	if (r == 0)
		r = notation_finish(&n, ret_batch, ret_places);
	nv_scope_done(&n.sc);
	notation_places_done(&n.places);
	json_decref(n.batch);
	json_decref(n.messages);
	return r;
}
