/*
 * write, edit and read ops: what is in the file afterwards, how it went, and that nothing else is
 * left behind.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>
#include <sha2.h>

#include "common/fd.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/exec.h"
#include "daemon/exec/runlog.h"
#include "daemon/record.h"
#include "proto/batch.h"
#include "tests/unit/scratch.h"

static char *dir, *runs;
static struct event_base *base;
static struct work *work;
static struct output *out;
static struct exec_file *files;
static struct exec_result last;
static int n_ended, n_failed;
static uint32_t op_number;
static bool again; /* what is run may have been done before a crash */

/* Each write is one of a group, whose files are made without names. */
static bool crowded;
enum { CROWD = 20, CROWD_FIRST = 0x80000 }; /* numbers of ops */

static void on_ended(void *arg, const struct exec_result *result)
{
	(void)arg;
	if (token_op(result->token) < CROWD_FIRST)
		last = *result;
	n_ended++;
	n_failed += result->cause != 0;
}

/* What the kernel or the file system does not have. */
static enum lack { LACK_NOTHING, LACK_NAMELESS, LACK_LINK_BY_FD, LACK_LINK, LACK_MAX } lacking;
static int n_nameless;

/* In the place of libc's, for all of the program. */
int openat(int in, const char *path, int flags, ...)
{
	bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & O_CREAT || nameless ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	__atomic_fetch_add(&n_nameless, nameless, __ATOMIC_RELAXED);
	if (nameless && lacking == LACK_NAMELESS) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return (int)syscall(SYS_openat, in, path, flags, mode);
}

int linkat(int from, const char *path, int in, const char *name, int flags)
{
	if (lacking == LACK_LINK || (lacking == LACK_LINK_BY_FD && (flags & AT_EMPTY_PATH))) {
		errno = lacking == LACK_LINK ? EPERM : ENOENT;
		return -1;
	}
	return (int)syscall(SYS_linkat, from, path, in, name, flags);
}

static void on_drained(void *arg, uint64_t token, const struct output_totals *totals)
{
	(void)arg;
	ck_assert(exec_file_drained(files, token, totals));
}

static void start_all(unsigned threads)
{
	struct output_events oe = { .drained = on_drained };
	struct exec_events ee = { .ended = on_ended };
	work = work_new(base, threads);
	out = output_new(base, runs, 1, &oe);
	files = exec_file_new(base, work, out, &ee);
}

static void stop_all(void)
{
	output_free(out);
	work_free(work);
	exec_file_free(files);
}

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	dir = scratch_new();
	runs = xasprintf("%s/.runs", dir);
	ck_assert_int_eq(mkdir(runs, 0700), 0);
	base = event_base_new();
	umask(0077); /* must have no influence */
	again = false;
	start_all(2);
}

static void setup_crowded(void)
{
	setup();
	crowded = true;
}

static void teardown(void)
{
	stop_all();
	event_base_free(base);
	free(runs);
	scratch_free(dir);
}

static void no_op(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

static void loop_until(int want)
{
	int64_t end = time_mono_ms() + 20000;
	struct timeval tick = { .tv_usec = 5000 };
	struct event *timer = event_new(base, -1, EV_PERSIST, no_op, NULL);
	event_add(timer, &tick);
	exec_file_flush(files);
	while (n_ended < want && time_mono_ms() < end)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(timer);
	ck_assert_int_eq(n_ended, want);
}

static char *in_dir(const char *name)
{
	return name[0] == '/' ? xstrdup(name) : xasprintf("%s/%s", dir, name);
}

static struct batch_op op_new(int kind)
{
	return (struct batch_op){ .kind = kind, .mode = -1, .offset = 0, .limit = -1 };
}

static void start_crowd(uint64_t run)
{
	struct batch_op op = op_new(KIND_WRITE);
	for (uint32_t i = 0; i < CROWD; i++) {
		char *path = xasprintf("%s/crowd/%u", dir, i);
		exec_file_start(files, token_make(run, CROWD_FIRST + i, 1), &op, path, 022, 0,
				false);
		free(path);
	}
}

/* Runs it to its end; the cause. */
static int run_as(const struct batch_op *op, const char *name, uint32_t mask, uint64_t token)
{
	char *path = in_dir(name);
	exec_file_start(files, token, op, path, mask, 0, again);
	if (crowded)
		start_crowd(token_run(token));
	loop_until(n_ended + 1 + (crowded ? CROWD : 0));
	ck_assert_uint_eq(last.token, token);
	ck_assert(last.is_file_op);
	ck_assert(last.cause == 0 || (*last.error.text && !strchr(last.error.text, '\n')));
	free(path);
	return last.cause;
}

static int run(const struct batch_op *op, const char *name)
{
	return run_as(op, name, 022, token_make(3, ++op_number, 1));
}

static int write_text(const char *name, const char *text)
{
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str(text);
	return run(&op, name);
}

static int edit_text(const char *name, const char *old, const char *new, bool all)
{
	struct batch_op op = op_new(KIND_EDIT);
	op.old_text = slice_str(old);
	op.new_text = slice_str(new);
	op.all = all;
	return run(&op, name);
}

static void put(const char *name, const char *text, mode_t mode)
{
	char *path = in_dir(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fd_write_all(fd, text, strlen(text)), 0);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
	free(path);
}

static void check_file(const char *name, const char *text)
{
	struct buf b = BUF_INIT;
	char *path = in_dir(name);
	ck_assert_int_eq(fd_read_file(path, 1 << 26, &b), 0);
	ck_assert_str_eq(buf_str(&b), text);
	buf_done(&b);
	free(path);
}

static mode_t mode_of(const char *name)
{
	struct stat st;
	char *path = in_dir(name);
	ck_assert_int_eq(lstat(path, &st), 0);
	free(path);
	return st.st_mode & 07777;
}

static ino_t inode_of(const char *name)
{
	struct stat st;
	char *path = in_dir(name);
	ck_assert_int_eq(lstat(path, &st), 0);
	free(path);
	return st.st_ino;
}

/* Entries of a folder that begin with ".batchd": temporaries left behind. */
static int leftovers(const char *name)
{
	char *path = in_dir(name);
	DIR *d = opendir(path);
	struct dirent *entry;
	int n = 0;
	while (d && (entry = readdir(d)))
		n += strncmp(entry->d_name, ".batchd", 7) == 0;
	if (d)
		closedir(d);
	free(path);
	return n;
}

static void check_error(const char *want)
{
	if (!strstr(last.error.text, want))
		ck_abort_msg("'%s' is not in: %s", want, last.error.text);
}

START_TEST(test_write)
{
	ck_assert_int_eq(write_text("a", "hello"), 0);
	check_file("a", "hello");
	ck_assert_uint_eq(mode_of("a"), 0644);
	ck_assert_int_ge(last.ended, last.started);
	ck_assert_int_gt(last.started, 0);
	ck_assert_int_eq(write_text("a", ""), 0);
	check_file("a", "");
	ck_assert_int_eq(write_text("x/y/z/f", "deep"), 0);
	check_file("x/y/z/f", "deep");
	ck_assert_uint_eq(mode_of("x"), 0755);
	ck_assert_uint_eq(mode_of("x/y/z"), 0755);
	ck_assert_int_eq(leftovers("x/y/z"), 0);
	ck_assert_int_eq(leftovers("."), 0);
	ck_assert_uint_eq(umask(0077), 0077);
}
END_TEST

START_TEST(test_modes)
{
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str("x");
	ck_assert_int_eq(run_as(&op, "d7/open", 0, token_make(3, ++op_number, 1)), 0);
	ck_assert_uint_eq(mode_of("d7/open"), 0666);
	ck_assert_uint_eq(mode_of("d7"), 0777);
	ck_assert_int_eq(run_as(&op, "shut", 0077, token_make(3, ++op_number, 1)), 0);
	ck_assert_uint_eq(mode_of("shut"), 0600);
	put("script", "old", 0751);
	ck_assert_int_eq(run(&op, "script"), 0);
	ck_assert_uint_eq(mode_of("script"), 0751);
	op.mode = 04711;
	ck_assert_int_eq(run(&op, "script"), 0);
	ck_assert_uint_eq(mode_of("script"), 04711);
	ck_assert_int_eq(run(&op, "new"), 0);
	ck_assert_uint_eq(mode_of("new"), 04711);
	/* A folder that hands on its group. */
	char *path = in_dir("shared");
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(chmod(path, 02775), 0);
	free(path);
	ck_assert_int_eq(write_text("shared/sub/f", "x"), 0);
	ck_assert_uint_eq(mode_of("shared/sub"), 02755);
}
END_TEST

START_TEST(test_links)
{
	char *a = in_dir("link"), *b = in_dir("dangling"), *c = in_dir("loop"), *d = in_dir("abs"),
	     *target = in_dir("t/real");
	ck_assert_int_eq(write_text("t/real", "1"), 0);
	ck_assert_int_eq(symlink("t/../t/real", a), 0);
	ck_assert_int_eq(symlink("new/place", b), 0);
	ck_assert_int_eq(symlink("loop", c), 0);
	ck_assert_int_eq(symlink(target, d), 0);
	ck_assert_int_eq(write_text("link", "2"), 0);
	check_file("t/real", "2");
	char buf[64];
	ck_assert_int_eq(readlink(a, buf, sizeof(buf)), 11);
	ck_assert_int_eq(write_text("abs", "3"), 0);
	check_file("t/real", "3");
	ck_assert_int_eq(readlink(d, buf, 1), 1);
	ck_assert_int_eq(write_text("dangling", "4"), 0);
	check_file("new/place", "4");
	ck_assert_int_eq(readlink(b, buf, sizeof(buf)), 9);
	ck_assert_int_eq(edit_text("link", "3", "33", false), 0);
	check_file("t/real", "33");
	ck_assert_int_eq(write_text("loop", "5"), CAUSE_IO);
	check_error("too many levels of symbolic links");
	ck_assert_int_eq(leftovers("t"), 0);
	free(a), free(b), free(c), free(d), free(target);
}
END_TEST

START_TEST(test_refused)
{
	ck_assert_int_eq(write_text("/dev/null", "x"), CAUSE_IO);
	check_error("'/dev/null' is not a regular file");
	struct stat st;
	ck_assert_int_eq(stat("/dev/null", &st), 0);
	ck_assert(S_ISCHR(st.st_mode));
	char *null_link = in_dir("null");
	ck_assert_int_eq(symlink("/dev/null", null_link), 0);
	ck_assert_int_eq(write_text("null", "x"), CAUSE_IO);
	check_error("is not a regular file");
	free(null_link);
	char *fifo = in_dir("fifo");
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(write_text("fifo", "x"), CAUSE_IO);
	ck_assert_int_eq(edit_text("fifo", "x", "y", false), CAUSE_IO);
	struct batch_op op = op_new(KIND_READ);
	ck_assert_int_eq(run(&op, "fifo"), CAUSE_IO);
	free(fifo);
	ck_assert_int_eq(write_text("d/f", "x"), 0);
	ck_assert_int_eq(write_text("d", "x"), CAUSE_IO);
	check_error("d': is a directory");
	ck_assert_int_eq(write_text("/", "x"), CAUSE_IO);
	ck_assert_int_eq(write_text("d/f/g", "x"), CAUSE_IO);
	check_error("not a directory");
	char longer[5000];
	memset(longer, 'n', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_int_eq(write_text(longer, "x"), CAUSE_IO);
	longer[255] = '\0';
	ck_assert_int_eq(write_text(longer, "x"), 0); /* the longest name there is */
	longer[255] = 'n';
	longer[256] = '\0';
	ck_assert_int_eq(write_text(longer, "x"), CAUSE_IO);
	check_error("file name too long");
	ck_assert_int_eq(leftovers("."), 0);
}
END_TEST

/* As a user without rights. */
START_TEST(test_rights)
{
	char *path = in_dir("ro");
	ck_assert_int_eq(mkdir(path, 0700), 0);
	put("ro/f", "old", 0666);
	put("secret", "s", 0000);
	ck_assert_int_eq(chmod(path, 0555), 0);
	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_eq(chmod(runs, 0777), 0);
	stop_all();
	bool root = geteuid() == 0;
	if (root)
		ck_assert_int_eq(seteuid(65534), 0);
	start_all(1);
	ck_assert_int_eq(write_text("ro/f", "new"), CAUSE_IO);
	check_error("cannot write '");
	check_error("/ro/f': permission denied");
	ck_assert_int_eq(write_text("ro/sub/g", "new"), CAUSE_IO);
	check_error("permission denied");
	ck_assert_int_eq(edit_text("ro/f", "old", "new", false), CAUSE_IO);
	check_error("cannot edit");
	check_file("ro/f", "old");
	struct batch_op op = op_new(KIND_READ);
	if (root) {
		ck_assert_int_eq(run(&op, "secret"), CAUSE_IO);
		check_error("/secret': permission denied");
	}
	op = op_new(KIND_WRITE);
	op.content = slice_str("+");
	op.append = true;
	ck_assert_int_eq(run(&op, "ro/f"), 0); /* in place: the folder does not matter */
	check_file("ro/f", "old+");
	stop_all();
	ck_assert(!root || seteuid(0) == 0);
	start_all(1);
	chmod(path, 0755);
	free(path);
}
END_TEST

START_TEST(test_no_room)
{
	struct rlimit lim = { 100000, 100000 };
	put("f", "old", 0644);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &lim), 0);
	char *big = xcalloc(1, 200001);
	memset(big, 'b', 200000);
	ck_assert_int_eq(write_text("f", big), CAUSE_IO);
	check_error("file too large");
	check_file("f", "old");
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str(big);
	op.append = true;
	ck_assert_int_eq(run(&op, "f"), CAUSE_IO);
	check_file("f", "old"); /* not a part of it */
	ck_assert_int_eq(leftovers("."), 0);
	free(big);
}
END_TEST

START_TEST(test_read_only_fs)
{
	char *path = in_dir("m");
	ck_assert_int_eq(mkdir(path, 0755), 0);
	stop_all();
	if (getuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
	    mount("tmpfs", path, "tmpfs", MS_RDONLY, "") == 0) {
		start_all(1);
		ck_assert_int_eq(write_text("m/f", "x"), CAUSE_IO);
		check_error("read-only file system");
		ck_assert_int_eq(write_text("m/d/f", "x"), CAUSE_IO);
		check_error("read-only file system");
		umount2(path, MNT_DETACH);
	} else {
		start_all(1);
	}
	free(path);
}
END_TEST

START_TEST(test_create_only)
{
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str("mine");
	op.create_only = true;
	ck_assert_int_eq(run(&op, "f"), 0);
	check_file("f", "mine");
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT); /* not its own */
	again = true;
	ck_assert_int_eq(run(&op, "f"), 0);
	put("f", "theirs", 0644);
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT);
	check_error("exists already");
	check_file("f", "theirs");
	put("f", "mine too", 0644); /* longer, same beginning */
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT);
	put("f", "min", 0644); /* shorter */
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT);
	op.append = true;
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT);
	ck_assert_int_eq(run(&op, "g"), 0);
	check_file("g", "mine");
	ck_assert_int_eq(leftovers("."), 0);
}
END_TEST

static void sha(const char *text, char hex[SHA256_DIGEST_STRING_LENGTH])
{
	SHA256Data((const uint8_t *)text, strlen(text), hex);
}

START_TEST(test_expect)
{
	char old[SHA256_DIGEST_STRING_LENGTH], other[SHA256_DIGEST_STRING_LENGTH];
	sha("old", old);
	sha("other", other);
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str("new");
	op.expect = slice_str(old);
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT);
	check_error("is not there");
	put("f", "other", 0644);
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT);
	other[12] = '\0';
	check_error(other);
	char start[13];
	snprintf(start, sizeof(start), "%s", old);
	check_error(start);
	check_file("f", "other");
	put("f", "old", 0640);
	for (char *p = old; *p; p++)
		*p = (char)(*p >= 'a' && *p <= 'f' ? *p - 32 : *p);
	ck_assert_int_eq(run(&op, "f"), 0);
	check_file("f", "new");
	ck_assert_uint_eq(mode_of("f"), 0640);
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT); /* not its own */
	again = true;
	ck_assert_int_eq(run(&op, "f"), 0);
	again = false;
	op.expect = slice_of(old, 10); /* a part is not enough */
	put("f", "old", 0640);
	ck_assert_int_eq(run(&op, "f"), CAUSE_CONFLICT);
}
END_TEST

START_TEST(test_append)
{
	struct batch_op op = op_new(KIND_WRITE);
	op.append = true;
	op.content = slice_str("one\n");
	ck_assert_int_eq(run(&op, "log/f"), 0);
	ck_assert_uint_eq(mode_of("log/f"), 0644);
	ino_t inode = inode_of("log/f");
	op.content = slice_str("two\n");
	ck_assert_int_eq(run(&op, "log/f"), 0);
	check_file("log/f", "one\ntwo\n");
	ck_assert_uint_eq(inode_of("log/f"), inode);
	ck_assert_uint_eq(mode_of("log/f"), 0644);
	op.mode = 0600;
	op.content = slice_str("");
	ck_assert_int_eq(run(&op, "log/f"), 0);
	ck_assert_uint_eq(mode_of("log/f"), 0600);
}
END_TEST

static const struct {
	const char *name, *text, *old, *new;
	bool all;
	int cause;
	const char *then; /* NULL: unchanged */
	const char *error;
} edits[] = {
	{ "one", "a b c", "b", "x", false, 0, "a x c", NULL },
	{ "one of all", "a b c", "b", "x", true, 0, "a x c", NULL },
	{ "whole", "abc", "abc", "", false, 0, "", NULL },
	{ "first", "abc", "a", "aa", false, 0, "aabc", NULL },
	{ "last", "abc", "c", "cc\n", false, 0, "abcc\n", NULL },
	{ "every", "abab", "ab", "x", true, 0, "xx", NULL },
	{ "no overlap", "aaaa", "aa", "b", true, 0, "bb", NULL },
	{ "several", "b b b", "b", "x", false, CAUSE_CONFLICT, NULL, "is 3 times in" },
	{ "none", "abc", "d", "x", false, CAUSE_CONFLICT, NULL, "is not in" },
	{ "none of all", "abc", "d", "x", true, CAUSE_CONFLICT, NULL, "is not in" },
	{ "empty", "abc", "", "x", true, CAUSE_CONFLICT, NULL, "is empty" },
	{ "in nothing", "", "a", "x", false, CAUSE_CONFLICT, NULL, "is not in" },
	{ "longer", "ab", "abc", "x", false, CAUSE_CONFLICT, NULL, "is not in" },
	{ "lines", "x\ny\nz\n", "y\n", "", false, 0, "x\nz\n", NULL },
	{ "same", "abc", "b", "b", false, 0, "abc", NULL },
};

START_TEST(test_edit)
{
	put("f", edits[_i].text, 0754);
	ck_assert_msg(edit_text("f", edits[_i].old, edits[_i].new, edits[_i].all) ==
			      edits[_i].cause,
		      "%s: %s", edits[_i].name, last.error.text);
	check_file("f", edits[_i].then ? edits[_i].then : edits[_i].text);
	if (edits[_i].error)
		check_error(edits[_i].error);
	ck_assert_uint_eq(mode_of("f"), 0754);
	ck_assert_int_eq(leftovers("."), 0);
}
END_TEST

START_TEST(test_edit_missing)
{
	ck_assert_int_eq(edit_text("nowhere/f", "a", "b", false), CAUSE_IO);
	check_error("/nowhere/f': no such file or directory");
	char *path = in_dir("nowhere");
	ck_assert_int_eq(access(path, F_OK), -1);
	free(path);
	ck_assert_int_eq(edit_text("f", "a", "b", false), CAUSE_IO);
	/* So many that the result would be huge. */
	char *many = xcalloc(1, 4097), *with = xcalloc(1, 1 << 20);
	memset(many, 'a', 4096);
	memset(with, 'b', (1 << 20) - 1);
	put("f", many, 0644);
	ck_assert_int_eq(edit_text("f", "a", with, true), CAUSE_LIMIT);
	check_error("too large to edit");
	check_file("f", many);
	free(many);
	free(with);
}
END_TEST

static char *output_of(uint64_t token)
{
	struct runlog_reader *r;
	struct buf data = BUF_INIT;
	int64_t first, next, dropped;
	ck_assert_int_eq(runlog_open(runs, token_run(token), &r), 0);
	ck_assert_int_eq(runlog_read(r, token_op(token), 1, STREAM_STDOUT, 0, -1, &data, NULL,
				     &first, &next, &dropped),
			 0);
	runlog_close(r);
	return buf_steal(&data);
}

static void check_read(int64_t offset, int64_t limit, const char *want)
{
	struct batch_op op = op_new(KIND_READ);
	op.offset = offset;
	op.limit = limit;
	ck_assert_int_eq(run(&op, "f"), 0);
	ck_assert_int_eq(last.stdout_bytes, (int64_t)strlen(want));
	char *got = output_of(last.token);
	ck_assert_str_eq(got, want);
	free(got);
}

START_TEST(test_read)
{
	put("f", "0123456789", 0644);
	check_read(0, -1, "0123456789");
	check_read(-1, -1, "0123456789");
	check_read(3, -1, "3456789");
	check_read(3, 4, "3456");
	check_read(8, 100, "89");
	check_read(10, -1, "");
	check_read(1000, 5, "");
	check_read(0, 0, "");
	struct batch_op op = op_new(KIND_READ);
	ck_assert_int_eq(run(&op, "missing"), CAUSE_IO);
	check_error("cannot read '");
	check_error("/missing': no such file or directory");
	ck_assert_int_eq(last.stdout_bytes, 0);
	ck_assert_int_eq(run(&op, "."), CAUSE_IO);
	check_error("is a directory");
	ck_assert_int_eq(run(&op, "/proc/self/cmdline"), 0);
	ck_assert_int_gt(last.stdout_bytes, 0);
	char *big = xcalloc(1, 3000001);
	for (int i = 0; i < 3000000; i++)
		big[i] = (char)('a' + i % 25);
	put("f", big, 0644);
	check_read(0, -1, big);
	char *part = xslicedup(slice_of(big + 1000001, 1500000));
	check_read(1000001, 1500000, part);
	free(part);
	free(big);
}
END_TEST

/* Done again after a crash in the middle, its output is there once. */
START_TEST(test_read_again)
{
	put("f", "0123456789", 0644);
	uint64_t token = token_make(4, 1, 1);
	struct runlog_writer *w = runlog_writer_new(runs, 4);
	struct runlog_attempt a;
	struct runlog_room room;
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 0), 0);
	ck_assert_int_eq(runlog_reserve(w, &a, STREAM_STDOUT, 4, 1, &room), 0);
	ck_assert_int_eq(fd_pwrite_all(room.fd, "0123", 4, room.off), 0);
	runlog_wrote(w, &a, 4);
	runlog_attempt_forget(&a);
	runlog_writer_free(w);
	struct batch_op op = op_new(KIND_READ);
	ck_assert_int_eq(run_as(&op, "f", 022, token), 0);
	ck_assert_int_eq(last.stdout_bytes, 10);
	char *got = output_of(token);
	ck_assert_str_eq(got, "0123456789");
	free(got);
}
END_TEST

/* What has not begun can be cancelled. */
START_TEST(test_cancel)
{
	stop_all();
	start_all(1);
	char *path = in_dir("f");
	struct batch_op op = op_new(KIND_WRITE), reading = op_new(KIND_READ);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(ftruncate(fd, 64 << 20), 0);
	close(fd);
	exec_file_start(files, token_make(3, 1, 1), &reading, path, 022, 1000,
			false); /* keeps the one thread busy */
	char *other = in_dir("other");
	op.content = slice_str("x");
	exec_file_start(files, token_make(3, 2, 1), &op, other, 022, 0, false);
	exec_file_start(files, token_make(3, 3, 1), &reading, other, 022, 0, false);
	exec_file_cancel(files, token_make(3, 2, 1));
	exec_file_cancel(files, token_make(3, 3, 1));
	exec_file_cancel(files, token_make(3, 9, 1)); /* unknown */
	loop_until(3);
	ck_assert_int_eq(access(other, F_OK), -1);
	free(path);
	free(other);
}
END_TEST

/* Killed at any moment, over and over: the old content or the new one, and the same op again sweeps
 * up. */
START_TEST(test_kill)
{
	char *one = xcalloc(1, 300001), *two = xcalloc(1, 300001);
	memset(one, '1', 300000);
	memset(two, '2', 300000);
	stop_all();
	for (int round = 0; round < 40; round++) {
		put("f", one, 0644);
		pid_t pid = fork();
		if (pid == 0) {
			base = event_base_new();
			start_all(1);
			struct batch_op op = op_new(KIND_WRITE);
			op.content = slice_str(two);
			run_as(&op, "f", 022, token_make(3, 1, 1));
			pause();
		}
		usleep((useconds_t)(rand() % 8000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		struct buf b = BUF_INIT;
		char *path = in_dir("f");
		ck_assert_int_eq(fd_read_file(path, 1 << 20, &b), 0);
		ck_assert(strcmp(buf_str(&b), one) == 0 || strcmp(buf_str(&b), two) == 0);
		free(path);
		buf_done(&b);
	}
	start_all(1);
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str("end");
	ck_assert_int_eq(run_as(&op, "f", 022, token_make(3, 1, 1)), 0);
	check_file("f", "end");
	ck_assert_int_eq(leftovers("."), 0);
	free(one);
	free(two);
}
END_TEST

/* Many at once, all into folders that do not exist yet. */
START_TEST(test_many)
{
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str("x");
	for (uint32_t i = 0; i < 500; i++) {
		char *path = xasprintf("%s/p%u/q%u/f%u", dir, i % 7, i % 5, i);
		exec_file_start(files, token_make(3, i + 1, 1), &op, path, 022, 0, false);
		free(path);
	}
	loop_until(500);
	ck_assert_int_eq(n_failed, 0);
	check_file("p2/q4/f499", "x");
	check_file("p0/q0/f0", "x");
}
END_TEST

/* What waits for the disk together does not fail together. */
START_TEST(test_siblings)
{
	struct batch_op op = op_new(KIND_WRITE);
	op.content = slice_str("x");
	ck_assert_int_eq(run(&op, "there/f3/inside"), 0); /* a folder: no file can be there */
	for (uint32_t i = 0; i < 40; i++) {
		char *path = xasprintf("%s/there/f%u", dir, i % 20);
		op.create_only = i >= 20; /* again, what only the first of each pair may make */
		exec_file_start(files, token_make(4, i + 1, 1), &op, path, 022, 0, false);
		free(path);
	}
	loop_until(1 + 40);
	ck_assert_int_eq(n_failed, 20 + 1);
	check_file("there/f2", "x");
	check_file("there/f19", "x");
	ck_assert_int_eq(leftovers("there"), 0);
}
END_TEST

/* Two on one name, and one on a folder made meanwhile: what has come to stand there is replaced, as
 * far as a rename does that. However the files come to their names. */
START_TEST(test_meanwhile)
{
	struct batch_op op = op_new(KIND_WRITE);
	char *path;
	lacking = (enum lack)_i;
	put("old", "old", 0751);
	for (uint32_t i = 0; i < 60; i++) {
		path = i == 3	? in_dir("old")
		       : i == 4 ? in_dir("d/own")
				: xasprintf("%s/d/f%u", dir, i % 30);
		op.content = slice_str(i < 30 ? "early" : "late");
		exec_file_start(files, token_make(5, i + 1, 1), &op, path, i % 30 == 4 ? 077 : 022,
				0, false);
		free(path);
	}
	for (uint32_t i = 0; i < 2; i++) {
		path = in_dir(i == 0 ? "d/in" : "d/in/f");
		exec_file_start(files, token_make(5, 100 + i, 1), &op, path, 022, 0, false);
		free(path);
	}
	loop_until(62);
	ck_assert_int_eq(n_failed, 1);
	check_file("d/in/f", "late");
	check_file("old", "early");
	ck_assert_uint_eq(mode_of("old"), 0751);
	check_file("d/f3", "late");
	ck_assert_uint_eq(mode_of("d/own"), 0600);
	ck_assert_uint_eq(mode_of("d/f5"), 0644);
	check_file("d/f29", "late");
	ck_assert_int_eq(leftovers("d") + leftovers(".") + leftovers("d/in"), 0);
	/* Where they are not to be had that is known of the folder. */
	ck_assert(lacking == LACK_NAMELESS ? n_nameless < 10 : n_nameless >= 30);
	lacking = LACK_NOTHING;
}
END_TEST

/* What an attempt left there when it was killed goes with its name, also in a crowd. */
START_TEST(test_swept_up)
{
	struct batch_op op = op_new(KIND_WRITE);
	uint64_t token = token_make(3, 7, 1);
	uint32_t store = 2166136261u; /* FNV-1a */
	for (const char *p = runs; *p; p++)
		store = (store ^ (unsigned char)*p) * 16777619u;
	char *left = xasprintf(".batchd-%08" PRIx32 "-%" PRIx64, store, token);
	put(left, "half", 0600);
	op.content = slice_str("whole");
	again = true;
	ck_assert_int_eq(run_as(&op, "f", 022, token), 0);
	check_file("f", "whole");
	ck_assert_int_eq(leftovers("."), 0);
	free(left);
}
END_TEST

static void add_writes(TCase *t)
{
	tcase_add_test(t, test_write);
	tcase_add_test(t, test_modes);
	tcase_add_test(t, test_links);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_rights);
	tcase_add_test(t, test_no_room);
	tcase_add_test(t, test_read_only_fs);
	tcase_add_test(t, test_create_only);
	tcase_add_test(t, test_swept_up);
	tcase_add_test(t, test_kill);
}

int main(void)
{
	Suite *s = suite_create("exec_file");
	TCase *t = tcase_create("exec_file");
	srand(5);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	add_writes(t);
	tcase_add_test(t, test_expect);
	tcase_add_test(t, test_append);
	tcase_add_loop_test(t, test_edit, 0, (int)ARRAY_SIZE(edits));
	tcase_add_test(t, test_edit_missing);
	tcase_add_test(t, test_read);
	tcase_add_test(t, test_read_again);
	tcase_add_test(t, test_cancel);
	tcase_add_test(t, test_many);
	tcase_add_test(t, test_siblings);
	tcase_add_loop_test(t, test_meanwhile, LACK_NOTHING, LACK_MAX);
	suite_add_tcase(s, t);
	TCase *c = tcase_create("in a crowd");
	tcase_add_checked_fixture(c, setup_crowded, teardown);
	tcase_set_timeout(c, 60);
	add_writes(c);
	suite_add_tcase(s, c);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
