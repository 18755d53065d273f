/* batchctl without a daemon: options, what a terminal shows, the model fed by snapshots and events,
 * output by position. */
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/complete.h"
#include "client/conn.h"
#include "client/dispatch.h"
#include "client/model.h"
#include "client/opts.h"
#include "client/render.h"
#include "client/report.h"
#include "client/term.h"
#include "common/fd.h"
#include "common/paths.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

/* Last: it defines fail(). */
#include <check.h>

/* ---- options ---- */

struct values {
	bool flag, other;
	const char *text, *one;
	struct opt_int n, d;
	struct strv many;
};

static const char *const ones[] = { "red", "green", NULL };

#define VALUE(name, letter, type, field, ...)                                                      \
	{                                                                                          \
		name, letter, type, offsetof(struct values, field), __VA_ARGS__                    \
	}

static const struct opt rows[] = {
	VALUE("flag", 'f', OPT_FLAG, flag, NULL, ""),
	VALUE("flavour", 0, OPT_FLAG, other, NULL, ""),
	VALUE("text", 't', OPT_STR, text, "T", ""),
	VALUE("one", 0, OPT_ENUM, one, "ONE", "", ones),
	VALUE("number", 'n', OPT_INT, n, "N", "", NULL, 1, 10),
	VALUE("duration", 'd', OPT_DURATION, d, "D", ""),
	VALUE("many", 'm', OPT_STRV, many, "M", ""),
	OPT_END,
};

static int parse(const char *line, bool stop, struct values *v, struct strv *operands,
		 struct err *e)
{
	static char words[512];
	char *argv[32] = { (char *)"x" };
	int argc = 1;
	struct opts o = {
		.groups = { { rows, v } }, .n_groups = 1, .stop_at_operand = stop, .command = "x"
	};
	snprintf(words, sizeof(words), "%s", line);
	for (char *p = words, *save = NULL; (p = strtok_r(p, " ", &save)); p = NULL)
		argv[argc++] = p;
	*v = (struct values){ 0 };
	*operands = (struct strv){ 0 };
	return opts_parse(&o, argc, argv, 1, operands, e);
}

START_TEST(options_taken)
{
	struct values v;
	struct strv operands;
	struct err e = ERR_INIT;
	ck_assert_int_eq(parse("a -fn3 --text=x=y b -m 1 --many 2 -t- --duration 1h30m -- -f",
			       false, &v, &operands, &e),
			 0);
	ck_assert(v.flag && !v.other && v.n.set && v.d.set);
	ck_assert_int_eq(v.n.v, 3);
	ck_assert_int_eq(v.d.v, 5400000);
	ck_assert_str_eq(v.text, "-");
	ck_assert_uint_eq(v.many.n, 2);
	ck_assert_str_eq(v.many.v[1], "2");
	ck_assert_uint_eq(operands.n, 3);
	ck_assert_str_eq(operands.v[2], "-f");
	strv_done(&operands);
	opts_done(rows, &v);
	ck_assert_int_eq(parse("--num 4 --one green -", false, &v, &operands, &e), 0);
	ck_assert_int_eq(v.n.v, 4);
	ck_assert_str_eq(v.one, "green");
	ck_assert_str_eq(operands.v[0], "-");
	strv_done(&operands);
	ck_assert_int_eq(parse("-f ls -n 77 --text", true, &v, &operands, &e), 0);
	ck_assert_uint_eq(operands.n, 4);
	strv_done(&operands);
}
END_TEST

START_TEST(options_refused)
{
	static const struct {
		const char *line, *says;
	} cases[] = {
		{ "--fl", "short for several" },
		{ "--nubmer 3", "did you mean '--number'" },
		{ "--zzzzzzzz", "unknown option '--zzzzzzzz'" },
		{ "-z", "unknown option '-z'" },
		{ "--flag=yes", "takes no value" },
		{ "--text", "needs a value" },
		{ "-t", "needs a value" },
		{ "-n 11", "from 1 to 10" },
		{ "-n x", "not a whole number" },
		{ "-d soon", "no duration" },
		{ "--one blue", "none of red, green" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct values v;
		struct strv operands;
		struct err e = ERR_INIT;
		ck_assert_int_eq(parse(cases[i].line, false, &v, &operands, &e), 1);
		ck_assert_msg(strstr(e.text, cases[i].says), "%s: %s", cases[i].line, e.text);
		strv_done(&operands);
	}
}
END_TEST

/* Options of each that stand behind it for what GNU parallel's users mean, before it for ours. */
static bool is_parallels(const struct verb *v, const struct opt *x, const struct opt *b)
{
	static const char *const names[] = { "quote", "colsep", "verbose", NULL };
	bool is = false;
	for (size_t i = 0; names[i]; i++)
		is = is || strcmp(x->name, names[i]) == 0;
	return is && b == global_opts && strcmp(v->name, "each") == 0;
}

/* No letter and no name twice where options meet on one line; every row has help; verbs have what
 * dispatch needs. */
static void check_rows(const struct verb *v, const struct opt *a, const struct opt *b)
{
	for (const struct opt *x = a; x && x->name; x++) {
		ck_assert_msg(x->help && *x->help, "%s --%s has no help", v->name, x->name);
		ck_assert_msg((x->type == OPT_FLAG) == !x->arg, "%s --%s", v->name, x->name);
		ck_assert_msg((x->type == OPT_ENUM) == (x->names != NULL), "%s --%s", v->name,
			      x->name);
		if (is_parallels(v, x, b))
			continue;
		for (const struct opt *y = a == b ? x + 1 : b; y && y->name; y++) {
			ck_assert_msg(strcmp(x->name, y->name) != 0, "%s has --%s twice", v->name,
				      x->name);
			ck_assert_msg(!x->letter || x->letter != y->letter, "%s has -%c twice",
				      v->name, x->letter);
		}
	}
}

static void check_verb(const struct verb *v, const struct verb *parent)
{
	ck_assert_msg(v->help && (v->run || v->subs), "%s", v->name);
	check_rows(v, v->options, v->options);
	check_rows(v, v->options, global_opts);
	if (parent) {
		check_rows(v, v->options, parent->options);
		ck_assert_uint_eq(v->options_size, parent->options_size);
	}
	for (const struct verb *const *s = v->subs; s && *s; s++)
		check_verb(*s, v);
}

START_TEST(verb_table)
{
	for (const struct verb *const *v = verbs; *v; v++) {
		check_verb(*v, NULL);
		for (const struct verb *const *w = v + 1; *w; w++)
			ck_assert_str_ne((*v)->name, (*w)->name);
	}
	ck_assert_ptr_eq(verb_find(verbs, "kill"), verb_find(verbs, "cancel"));
	ck_assert_ptr_null(verb_find(verbs, "nosuch"));
}
END_TEST

/* ---- terminal ---- */

static void check_values(const struct verb *v)
{
	for (const struct opt *o = v->options; o && o->name; o++) {
		_cleanup_free_ char *arg = o->arg ? xstrdup(o->arg) : NULL;
		char *rest = arg, *one;
		while (!o->names && rest && (one = strsep(&rest, "|")))
			ck_assert_msg(complete_knows(one) || (*one >= 'a' && *one <= 'z'),
				      "%s --%s: complete.c knows no value called '%s'", v->name,
				      o->name, one);
	}
	for (const struct verb *const *sub = v->subs; sub && *sub; sub++)
		check_values(*sub);
}

/* What the value of an option is called says where a shell has its candidates from. */
START_TEST(values_complete)
{
	for (const struct verb *const *v = verbs; *v; v++)
		check_values(*v);
}
END_TEST

START_TEST(fits_columns)
{
	static const struct {
		const char *text;
		int cols;
		const char *cut;
	} cases[] = {
		{ "hello", 10, "hello" },
		{ "hello", 5, "hello" },
		{ "hello", 4, "hel\xe2\x80\xa6" },
		{ "hello", 1, "\xe2\x80\xa6" },
		{ "hello", 0, "" },
		{ "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 6,
		  "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e" },
		{ "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 4, "\xe6\x97\xa5\xe2\x80\xa6" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf b = BUF_INIT;
		term_fit(&b, slice_str(cases[i].text), cases[i].cols, false);
		ck_assert_str_eq(buf_str(&b), cases[i].cut);
		buf_clear(&b);
		term_fit(&b, slice_str(cases[i].text), cases[i].cols, true);
		ck_assert_int_eq(term_width(buf_slice(&b)), cases[i].cols);
		buf_done(&b);
	}
}
END_TEST

START_TEST(tames_bytes)
{
	struct buf b = BUF_INIT;
	term_fit_bytes(&b, slice_str("a\033[31mred\nline\xff"), 60, false);
	ck_assert_str_eq(buf_str(&b), "a\\x1b[31mred\\nline\\xff");
	buf_done(&b);
}
END_TEST

/* ---- model and rendering ---- */

static void pack_op(struct pk *pk, int index, int message, const char *state, const char *text)
{
	pk_map(pk);
	pk_kint(pk, "index", index);
	pk_kint(pk, "message", message);
	pk_kstr(pk, "state", slice_str(state));
	pk_kstr(pk, "text", slice_str(text));
	pk_end(pk);
}

/* A run of two messages: `first` ops running in the first, one waiting in the second. */
static void make_view(struct run_view *v, int first)
{
	struct buf run = BUF_INIT, ops = BUF_INIT;
	struct pk pk = PK_INIT(&run), op = PK_INIT(&ops);
	pk_map(&pk);
	pk_kint(&pk, "run", 7);
	pk_kstr(&pk, "name", slice_str("demo"));
	pk_kstr(&pk, "state", slice_str("running"));
	pk_kint(&pk, "ops_total", first + 1);
	pk_key(&pk, "messages");
	pk_array(&pk);
	for (int i = 1; i <= 2; i++) {
		pk_map(&pk);
		pk_kint(&pk, "index", i);
		pk_kstr(&pk, "name", slice_str(i == 1 ? "build" : NULL));
		pk_end(&pk);
	}
	pk_end(&pk);
	pk_end(&pk);
	pk_array(&op);
	for (int i = 1; i <= first; i++)
		pack_op(&op, i, 1, "running", "make all");
	pack_op(&op, first + 1, 2, "waiting", "make test");
	pk_end(&op);
	*v = (struct run_view){ .run = 7 };
	run_view_head(v, buf_slice(&run));
	run_view_ops(v, buf_slice(&ops));
	buf_done(&run);
	buf_done(&ops);
}

static struct op_view *send_state(struct run_view *v, int op, const char *state, const char *cause,
				  int64_t time)
{
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	enum view_state before;
	pk_map(&pk);
	pk_kint(&pk, "op", op);
	pk_kstr(&pk, "state", slice_str(state));
	pk_kstr(&pk, "cause", slice_str(cause));
	pk_kint(&pk, "time", time);
	pk_end(&pk);
	struct op_view *o = run_view_op_event(v, buf_slice(&b), &before);
	buf_done(&b);
	return o;
}

START_TEST(model_counts)
{
	struct run_view v;
	make_view(&v, 3);
	ck_assert_uint_eq(v.counts[VIEW_RUNNING], 3);
	ck_assert_uint_eq(v.messages[0].running, 3);
	ck_assert_ptr_nonnull(send_state(&v, 1, "succeeded", NULL, 50));
	ck_assert_ptr_nonnull(send_state(&v, 2, "failed", "exit", 60));
	ck_assert_uint_eq(v.messages[0].ended, 2);
	ck_assert_uint_eq(v.messages[0].failed, 1);
	ck_assert_uint_eq(v.counts[VIEW_RUNNING], 1);
	ck_assert_int_eq(run_view_op(&v, 2)->ended, 60);
	/* An ended op stays as it is, whatever an older event says. */
	ck_assert_ptr_null(send_state(&v, 2, "running", NULL, 55));
	ck_assert_uint_eq(v.counts[VIEW_FAILED], 1);
	ck_assert_ptr_null(send_state(&v, 9, "running", NULL, 55));
	ck_assert_ptr_null(run_view_op(&v, 0));
	run_view_done(&v);
}
END_TEST

static int count_lines(const char *text, int *ret_widest)
{
	int n = 0;
	*ret_widest = 0;
	for (const char *p = text; *p; n++) {
		size_t len = strcspn(p, "\n");
		int width = term_width(slice_of(p, len));
		*ret_widest = MAX2(*ret_widest, width);
		p += len + 1;
	}
	return n;
}

START_TEST(render_fits)
{
	struct run_view v;
	make_view(&v, 40);
	send_state(&v, 3, "failed", "exit", 10);
	for (int rows_max = 1; rows_max <= 60; rows_max++) {
		for (int cols = 10; cols <= 120; cols += 10) {
			struct buf b = BUF_INIT;
			struct render r = { .cols = cols, .rows = rows_max, .now_ms = 1000 };
			int widest, n = render_run(&r, &v, &b);
			ck_assert_int_le(n, rows_max);
			ck_assert_int_eq(count_lines(buf_str(&b), &widest), n);
			ck_assert_int_le(widest, cols);
			buf_done(&b);
		}
	}
	run_view_done(&v);
}
END_TEST

START_TEST(render_tells)
{
	struct run_view v;
	struct buf b = BUF_INIT;
	struct render r = { .cols = 79, .rows = 20, .now_ms = 1000 };
	make_view(&v, 2);
	send_state(&v, 2, "failed", "exit", 10);
	render_run(&r, &v, &b);
	ck_assert_ptr_nonnull(
		strstr(buf_str(&b), "run 7 demo  running  1/3 ops  1 running  1 failed"));
	ck_assert_ptr_nonnull(strstr(buf_str(&b), "1 build  1/2  1 failed"));
	ck_assert_ptr_nonnull(strstr(buf_str(&b), "2  0/1"));
	buf_done(&b);
	run_view_done(&v);
}
END_TEST

/* Only as long as something is known of what is left. */
START_TEST(render_estimates)
{
	static const struct {
		int64_t eta_ms, now_ms;
		bool partial;
		const char *says;
	} cases[] = {
		{ 12000, 1000, false, "2 running  ETA 12 s " },
		{ 12000, 8500, false, "2 running  ETA 5 s " },
		{ 12000, 8500, true, "2 running  ETA > 5 s " },
		{ 90000, 1000, false, "2 running  ETA 1 m 30 s " },
		{ 12000, 13001, false, NULL },
		{ 0, 1000, true, NULL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct run_view v;
		struct buf b = BUF_INIT;
		struct render r = { .cols = 79, .rows = 20, .now_ms = cases[i].now_ms };
		make_view(&v, 2);
		send_state(&v, 2, "running", NULL, 10);
		v.eta_ms = cases[i].eta_ms;
		v.eta_at = 1000;
		v.eta_partial = cases[i].partial;
		render_run(&r, &v, &b);
		const char *said = strstr(buf_str(&b), cases[i].says ? cases[i].says : "ETA");
		ck_assert_msg(!said == !cases[i].says, "%zu: %s", i, buf_str(&b));
		buf_done(&b);
		run_view_done(&v);
	}
}
END_TEST

START_TEST(causes)
{
	static const struct {
		const char *cause, *signal, *error, *says;
		int exit;
	} cases[] = {
		{ "exit", NULL, NULL, "exit 3", 3 },
		{ "signal", "SIGSEGV", NULL, "killed by SIGSEGV", -1 },
		{ "timeout", NULL, NULL, "timed out", -1 },
		{ "start", NULL, "no\nsuch", "could not start: no\\nsuch", -1 },
		{ "strange", NULL, NULL, "strange", -1 },
		{ NULL, NULL, NULL, "skipped", -1 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf b = BUF_INIT;
		report_cause(&b, slice_str("skipped"), slice_str(cases[i].cause), cases[i].exit,
			     slice_str(cases[i].signal), slice_str(cases[i].error));
		ck_assert_str_eq(buf_str(&b), cases[i].says);
		buf_done(&b);
	}
}
END_TEST

/* ---- the connection ---- */

/* A server for one connection: answers hello, then sends the bytes a byte at a time and hangs up.
 */
struct server {
	int listen_fd;
	struct buf says;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	static const char hello[] = "\x94\x01\x00\xc0\x80";
	char in[4096];
	int fd = accept(s->listen_fd, NULL, NULL);
	if (read(fd, in, sizeof(in)) <= 0 || fd_write_all(fd, hello, 5) < 0)
		abort();
	if (s->says.len && read(fd, in, sizeof(in)) <= 0)
		abort();
	for (size_t i = 0; i < s->says.len; i++)
		if (fd_write_all(fd, s->says.p + i, 1) < 0)
			break;
	close(fd);
	return NULL;
}

static struct conn *connect_to(struct server *s, char *dir, char path[64], pthread_t *thread)
{
	struct conn *c = NULL;
	struct err e = ERR_INIT;
	signal(SIGPIPE, SIG_IGN); /* the server may still write when we have hung up */
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, 64, "%s/s", dir);
	/* unix_listen gives a non-blocking socket: accept has to wait here. */
	s->listen_fd = unix_listen(path, SOCK_STREAM, 4);
	ck_assert_int_ge(s->listen_fd, 0);
	fd_set_nonblock(s->listen_fd, false);
	pthread_create(thread, NULL, serve, s);
	ck_assert_int_eq(conn_open(path, "/", &c, &e), 0);
	return c;
}

static void disconnect_from(struct server *s, struct conn *c, const char *dir, const char *path,
			    pthread_t thread)
{
	conn_free(c);
	pthread_join(thread, NULL);
	close(s->listen_fd);
	buf_done(&s->says);
	unlink(path);
	rmdir(dir);
}

/* An event between request and reply is kept; the reply comes in single bytes; then the end. */
START_TEST(conn_keeps_events)
{
	char dir[] = "/tmp/test_client.XXXXXX", path[64];
	struct server s = { .says = BUF_INIT };
	struct buf reply = BUF_INIT;
	struct err e = ERR_INIT;
	struct conn_in in;
	pthread_t thread;
	buf_add(&s.says, "\x93\x02\xa1x\x91\x81\xa1k\x05", 9);
	buf_add(&s.says, "\x94\x01\x01\xc0\x81\xa1r\x07", 8);
	buf_add(&s.says, "\x93\x02\xa1x\x91\x81\xa1k\x06", 9);
	struct conn *c = connect_to(&s, dir, path, &thread);
	ck_assert_int_eq(conn_call(c, "run.get", SLICE_NONE, &reply, &e), 0);
	ck_assert_int_eq(mp_get_int(buf_slice(&reply), "r", 0), 7);
	ck_assert_int_eq(conn_next(c, -1, &in), CONN_EVENT);
	ck_assert_int_eq(mp_get_int(in.body, "k", 0), 5);
	ck_assert_int_eq(conn_next(c, -1, &in), CONN_EVENT);
	ck_assert_int_eq(mp_get_int(in.body, "k", 0), 6);
	ck_assert_int_eq(conn_next(c, -1, &in), CONN_CLOSED);
	ck_assert_int_eq(conn_call(c, "run.get", SLICE_NONE, NULL, &e), -ECONNRESET);
	buf_done(&reply);
	disconnect_from(&s, c, dir, path, thread);
}
END_TEST

START_TEST(conn_errors)
{
	char dir[] = "/tmp/test_client.XXXXXX", path[64];
	struct server s = { .says = BUF_INIT };
	struct err e = ERR_INIT;
	pthread_t thread;
	buf_add(&s.says,
		"\x94\x01\x01\x92\x01\xab"
		"E_STATE: no\xc0",
		18);
	struct conn *c = connect_to(&s, dir, path, &thread);
	ck_assert_int_eq(conn_call(c, "run.get", SLICE_NONE, NULL, &e), 1);
	ck_assert_str_eq(e.text, "E_STATE: no");
	ck_assert_int_ne(e.sym, 0);
	disconnect_from(&s, c, dir, path, thread);
}
END_TEST

/* What is no frame ends the connection instead of being guessed at. */
START_TEST(conn_refuses)
{
	char dir[] = "/tmp/test_client.XXXXXX", path[64];
	struct server s = { .says = BUF_INIT };
	struct err e = ERR_INIT;
	pthread_t thread;
	buf_add(&s.says, "\xc1\xc1", 2);
	struct conn *c = connect_to(&s, dir, path, &thread);
	ck_assert_int_eq(conn_call(c, "run.get", SLICE_NONE, NULL, &e), -ECONNRESET);
	disconnect_from(&s, c, dir, path, thread);
}
END_TEST

START_TEST(conn_deadline)
{
	char dir[] = "/tmp/test_client.XXXXXX", path[64];
	struct server s = { .says = BUF_INIT };
	struct conn_in in;
	pthread_t thread;
	buf_add(&s.says, "\xc0", 1);
	struct conn *c = connect_to(&s, dir, path, &thread);
	int64_t before = time_mono_ms();
	ck_assert_int_eq(conn_next(c, before + 60, &in), CONN_TIMEOUT);
	ck_assert_int_ge(time_mono_ms(), before + 60);
	conn_send(c, "rpc.hello", SLICE_NONE);
	ck_assert_int_eq(conn_next(c, -1, &in), CONN_CLOSED);
	disconnect_from(&s, c, dir, path, thread);
	ck_assert_int_eq(conn_open("/nonexistent/s", "/", &c, &(struct err)ERR_INIT), -ENOENT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client");
	TCase *tc = tcase_create("all");
	setlocale(LC_CTYPE, "C.UTF-8");
	suite_add_tcase(s, tc);
	tcase_add_test(tc, options_taken);
	tcase_add_test(tc, options_refused);
	tcase_add_test(tc, verb_table);
	tcase_add_test(tc, values_complete);
	tcase_add_test(tc, fits_columns);
	tcase_add_test(tc, tames_bytes);
	tcase_add_test(tc, model_counts);
	tcase_add_test(tc, render_fits);
	tcase_add_test(tc, render_tells);
	tcase_add_test(tc, render_estimates);
	tcase_add_test(tc, causes);
	tcase_add_test(tc, conn_keeps_events);
	tcase_add_test(tc, conn_errors);
	tcase_add_test(tc, conn_refuses);
	tcase_add_test(tc, conn_deadline);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
