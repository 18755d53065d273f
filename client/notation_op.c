/* What an op looks like: its name, and the forms its arguments come in. */
#include "client/notation_impl.h"

#include <string.h>
#include <strings.h>

#include "proto/suggest.h"

const struct op_form op_forms[] = {
	{ .name = "Bash",
	  .kind = KIND_BASH,
	  .positional = { "command" },
	  .needs = "a command: Bash(\"make\")" },
	{ .name = "Exec",
	  .kind = KIND_EXEC,
	  .needs = "a program: Exec(\"ls\", \"-l\")",
	  .array = true },
	{ .name = "Write",
	  .kind = KIND_WRITE,
	  .positional = { "path", "content" },
	  .needs = "a path and the content: Write(\"a.txt\", \"text\"); JSON.stringify({...}, "
		   "null, 2) makes text of an "
		   "object, \"\" is an empty file" },
	{ .name = "Edit",
	  .kind = KIND_EDIT,
	  .positional = { "path", "old", "new" },
	  .needs = "a path, what to replace and by what: Edit(\"a.txt\", { old: \"x\", new: \"y\" "
		   "})" },
	{ .name = "Read",
	  .kind = KIND_READ,
	  .positional = { "path" },
	  .needs = "a path: Read(\"a.txt\")" },
	{ .name = "TodoWrite",
	  .kind = KIND_TODOS,
	  .positional = { "todos" },
	  .needs = "todos: TodoWrite { todos: [{ content: \"...\" }] }",
	  .array = true },
	{ .name = "TodoRead", .kind = KIND_EXEC, .bare = true },
	{ .name = "TaskCreate",
	  .kind = KIND_TODOS,
	  .needs = "a subject: TaskCreate({ subject: \"...\" })" },
	{ .name = NULL },
};

/* Tools of coding agents that people write between ops; nothing here can run them. */
static const struct op_foreign {
	const char *name, *instead;
} op_foreign[] = {
	{ "Task", "batchd starts no agents: Bash can, with the agent's command line" },
	{ "Agent", "batchd starts no agents: Bash can, with the agent's command line" },
	{ "MultiEdit", "write one Edit for each change" },
	{ "NotebookEdit", "use Bash or Edit" },
	{ "NotebookRead", "use Read" },
	{ "LS", "use Bash(\"ls ...\")" },
	{ "Glob", "use Bash(\"ls ...\") or Bash(\"find ...\")" },
	{ "Grep", "use Bash(\"grep ...\")" },
	{ "WebFetch", "use Bash(\"curl ...\")" },
	{ "WebSearch", NULL },
	{ "TaskUpdate", "use TodoWrite with mode: \"merge\"" },
	{ "TaskList", "use TodoRead" },
	{ "TaskGet", "use TodoRead" },
	{ "TaskOutput", "see batchctl log" },
	{ "TaskStop", "see batchctl cancel" },
	{ "BashOutput", "see batchctl log" },
	{ "KillShell", "see batchctl cancel" },
	{ "KillBash", "see batchctl cancel" },
	{ "SendMessage", NULL },
	{ "Skill", NULL },
	{ "SlashCommand", NULL },
	{ "ExitPlanMode", NULL },
	{ "AskUserQuestion", NULL },
	{ "BatchTool", "a batch is written as its ops, one a line" },
};

const struct op_form *op_form_find(struct slice name)
{
	for (const struct op_form *f = op_forms; f->name; f++)
		if (name.len == strlen(f->name) && strncasecmp(name.p, f->name, name.len) == 0)
			return f;
	return NULL;
}

static const struct op_foreign *op_foreign_find(struct slice name)
{
	for (size_t i = 0; i < ARRAY_SIZE(op_foreign); i++)
		if (slice_is(name, op_foreign[i].name))
			return &op_foreign[i];
	return NULL;
}

static bool op_is_mcp(struct slice name)
{
	return name.len > 5 && memcmp(name.p, "mcp__", 5) == 0;
}

static struct suggest op_suggest(struct slice name)
{
	struct suggest near = SUGGEST_INIT(name);
	for (const struct op_form *f = op_forms; f->name; f++)
		suggest_offer(&near, f->name);
	return near;
}

enum note op_unknown(struct nv_scope *sc, const struct op_look *look)
{
	const struct op_foreign *foreign = op_foreign_find(look->name);
	struct suggest near = op_suggest(look->name);
	char hint[SUGGEST_TEXT_MAX] = "";
	if (!foreign && !op_is_mcp(look->name))
		suggest_text(&near, hint);
	return nv_soft(sc, look->at,
		       "unknown op '%.*s'%s%s%s; ops are Bash, Exec, Write, Edit, Read, TodoWrite, "
		       "TodoRead, "
		       "TaskCreate; --skip-unknown skips others",
		       look->name.len > 80 ? 80 : (int)look->name.len, look->name.p, hint,
		       foreign && foreign->instead ? ": " : "",
		       foreign && foreign->instead ? foreign->instead : "");
}

/* "-", "*", "+", a bullet sign, "1." or "1)", and blanks. */
static void op_skip_bullet(struct src *s)
{
	const char *start = s->p;
	if (src_starts(s, "\xe2\x80\xa2"))
		s->p += 3;
	else if (src_peek(s) == '-' || src_peek(s) == '*' || src_peek(s) == '+')
		s->p++;
	else {
		while (char_is_digit(src_peek(s)))
			s->p++;
		bool number = s->p > start && (src_peek(s) == '.' || src_peek(s) == ')');
		s->p += number;
		if (!number)
			s->p = start;
	}
	if (s->p > start && !char_is_blank(src_peek(s)))
		s->p = start;
	src_skip_blanks(s);
}

static void op_skip_await(struct src *s)
{
	if (src_starts(s, "await") && char_is_blank(src_peek_at(s, 5))) {
		s->p += 5;
		src_skip_blanks(s);
	}
}

/* A name, perhaps with points; those of mcp tools have hyphens too. */
static struct slice op_name(struct src *s)
{
	const char *from = s->p;
	if (!src_ident(s).p)
		return SLICE_NONE;
	bool mcp = op_is_mcp(slice_of(from, (size_t)(s->p - from)));
	while (src_peek(s) && strchr(mcp ? ".-@" : ".", src_peek(s)) &&
	       char_is_ident(src_peek_at(s, 1)) && !src_ellipsis(s)) {
		s->p++;
		if (!src_ident(s).p)
			while (char_is_digit(src_peek(s)))
				s->p++;
	}
	return slice_of(from, (size_t)(s->p - from));
}

static bool op_at_end(const struct src *s)
{
	char c = src_peek(s);
	return src_at_eol(s) || c == ';' || c == ',' || src_at_comment(s);
}

/* Do arguments of this form follow the name? */
static bool op_known_shape(const struct src *at, const struct op_form *form)
{
	struct src s = *at;
	src_skip_blanks(&s);
	char c = src_peek(&s);
	if (c == '(' || c == '{' || c == '"' || c == '`')
		return true;
	if (c == '\'') /* "Read's" is English */
		return s.p > at->p;
	return (form->array && c == '[') || (form->bare && op_at_end(&s));
}

static bool op_foreign_shape(const struct src *at, bool mcp)
{
	struct src s = *at;
	src_skip_blanks(&s);
	char c = src_peek(&s);
	return c == '(' || c == '{' || c == '"' || c == '`' || (mcp && (c == '[' || op_at_end(&s)));
}

/* A name nobody knows is a mistyped op where it is written like one. */
static bool op_unknown_shape(const struct src *at, struct slice name, bool started)
{
	struct src s = *at;
	bool call = src_peek(&s) == '(';
	src_skip_blanks(&s);
	char c = src_peek(&s);
	if (op_suggest(name).best && (call || c == '{' || c == '"'))
		return true;
	bool capital = name.p[0] >= 'A' && name.p[0] <= 'Z';
	return call ? started || capital : started && c == '{';
}

enum look_kind op_look(struct src *s, bool started, struct op_look *ret)
{
	const char *start = s->p;
	struct op_look look = { .kind = LOOK_NONE };
	op_skip_bullet(s);
	op_skip_await(s);
	look.at = s->p;
	look.name = op_name(s);
	if (look.name.p) {
		bool mcp = op_is_mcp(look.name);
		look.form = op_form_find(look.name);
		if (look.form && op_known_shape(s, look.form))
			look.kind = LOOK_KNOWN;
		else if (!look.form && (mcp || op_foreign_find(look.name)) &&
			 op_foreign_shape(s, mcp))
			look.kind = LOOK_FOREIGN;
		else if (!look.form && op_unknown_shape(s, look.name, started))
			look.kind = LOOK_UNKNOWN;
		look.exact = look.kind == LOOK_FOREIGN ||
			     (look.form && slice_is(look.name, look.form->name));
	}
	if (look.kind == LOOK_NONE)
		s->p = start;
	*ret = look;
	return look.kind;
}

bool op_skip(struct src *s)
{
	src_skip_blanks(s);
	char c = src_peek(s);
	if (c == '(' || c == '{' || c == '[')
		return src_skip_balanced(s);
	/* Name "string", value, ...: up to the end of the line, or to where the last of them ends.
	 */
	while (!op_at_end(s) || src_peek(s) == ',') {
		struct src next = *s;
		struct op_look look;
		next.p += src_peek(s) == ',';
		src_skip_blanks(&next);
		if (src_peek(s) == ',' && op_look(&next, true, &look) != LOOK_NONE)
			return true;
		c = src_peek(s);
		if (!(nv_at_string(s) || c == '(' || c == '{' || c == '['))
			s->p++;
		else if (!src_skip_balanced(s))
			return false;
	}
	return true;
}

const char *op_inside_line(const struct src *at)
{
	struct src s = *at;
	for (; !src_at_eol(&s); s.p++) {
		if (!char_is_ident(src_peek(&s)) || (s.p > s.begin && char_is_ident(s.p[-1])))
			continue;
		struct src name = s;
		const struct op_form *form;
		struct slice word = src_ident(&name);
		if (word.p && (form = op_form_find(word)) && slice_is(word, form->name) &&
		    !form->bare &&
		    (src_peek(&name) == '(' || src_starts(&name, " {") || src_starts(&name, " \"")))
			return s.p;
	}
	return NULL;
}

/* ---- arguments ---- */

/* "name:" or "name =" in front of an argument. */
static struct slice op_arg_name(struct src *s)
{
	const char *start = s->p;
	struct slice name = src_ident(s);
	src_skip_blanks(s);
	char c = src_peek(s), d = src_peek_at(s, 1);
	if (name.p && (c == ':' || (c == '=' && d != '=' && d != '>'))) {
		s->p++;
		return name;
	}
	s->p = start;
	return SLICE_NONE;
}

static enum note op_named_twice(struct nv_scope *sc, const struct op_args *args, struct slice name,
				const char *at)
{
	for (const struct nv *m = args->named->first; m; m = m->next)
		if (slice_eq(m->key, name))
			return nv_error(sc, at, "'%.*s' is given twice", SLICE_FMT(name));
	return NOTE_OK;
}

static enum note op_one_arg(struct nv_scope *sc, struct op_args *args)
{
	const char *at = sc->src.p;
	struct nv *v;
	struct slice name = op_arg_name(&sc->src);
	enum note r = nv_space(sc, NULL);
	if (r == NOTE_OK && name.p)
		r = op_named_twice(sc, args, name, at);
	if (r == NOTE_OK)
		r = nv_parse(sc, &v);
	if (r)
		return r;
	v->key = name;
	v->key_at = at;
	nv_add(name.p ? args->named : args->positional, v);
	return nv_separator(sc, v, ')', NULL);
}

static enum note op_call_args(struct nv_scope *sc, struct op_args *args)
{
	struct src *s = &sc->src;
	const char *open = s->p++;
	enum note r = NOTE_OK;
	/* Inside the parentheses an expression may go on in the next line. */
	sc->depth++;
	while (r == NOTE_OK) {
		r = nv_space(sc, NULL);
		if (r)
			break;
		if (s->p == s->end) {
			r = nv_error(sc, open, "this '(' is not closed");
		} else if (*s->p == ')') {
			s->p++;
			break;
		} else {
			r = op_one_arg(sc, args);
		}
	}
	sc->depth--;
	return r;
}

/* Name "string", value, ...: goes on behind a comma, unless that ends the line or another op
 * follows. */
static enum note op_loose_args(struct nv_scope *sc, struct op_args *args)
{
	struct src *s = &sc->src;
	for (;;) {
		struct nv *v;
		struct op_look look;
		enum note r = nv_parse(sc, &v);
		if (r)
			return r;
		nv_add(args->positional, v);
		const char *end = s->p;
		src_skip_blanks(s);
		bool more = src_peek(s) == ',';
		s->p += more;
		src_skip_blanks(s);
		struct src next = *s;
		if (!more || src_at_eol(s) || src_at_comment(s) ||
		    op_look(&next, true, &look) != LOOK_NONE) {
			s->p = end;
			return NOTE_OK;
		}
	}
}

enum note op_parse_args(struct nv_scope *sc, struct op_args *ret)
{
	struct src *s = &sc->src;
	ret->positional = nv_new(sc, NV_ARRAY, s->p);
	ret->named = nv_new(sc, NV_OBJECT, s->p);
	src_skip_blanks(s);
	if (src_peek(s) == '(')
		return op_call_args(sc, ret);
	if (src_peek(s) != '{')
		return op_at_end(s) ? NOTE_OK : op_loose_args(sc, ret);
	struct nv *object;
	enum note r = nv_parse(sc, &object);
	if (r == NOTE_OK)
		nv_add(ret->positional, object);
	return r;
}
