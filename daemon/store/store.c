#include "daemon/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/lock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/store/lane.h"
#include "daemon/store/migrate.h"
#include "daemon/store/runfiles.h"
#include "daemon/store/runs_owner.h"
#include "daemon/store/schema.h"
#include "daemon/store/spare.h"
#include "daemon/store/sql_reader.h"
#include "daemon/store/sql_write.h"
#include "daemon/store/state_dir.h"
#include "daemon/store/store_impl.h"
#include "proto/errors.h"

struct store {
	char *dir, *path, *runs_dir;
	int lock_fd, runs_fd;
	struct writer writer;	  /* the write lane's once that exists */
	struct sql_reader reader; /* the read lane's */
	unsigned reader_files;	  /* writer.files when the reader was opened */
	struct lane *write_lane, *read_lane;
	struct lane *files_lane; /* removes files: of a large one that takes its time */
	uint64_t id, next_run;
	int64_t rev;
	bool rebooted;
	struct spare spare;	/* the write lane's once that exists */
	uint64_t past_rev;	/* transactions so far that change runs that have ended */
	unsigned past_changing; /* of these, those under way */
};

/* --- opening --- */

/* The database file is made by us so that it, and the files SQLite makes beside it after its mode,
 * are private. */
static int store_touch(const char *path, struct err *e)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(e, E_STORAGE, "cannot open '%s': %s: %s", path, strerror(errno),
			       trouble_mend(errno));
	return 0;
}

static int store_open_runs(struct store *s, struct err *e)
{
	int r = path_mkdirs(s->runs_dir, 0700);

	if (r < 0)
		return err_set(e, E_STORAGE, "cannot make folder '%s': %s: %s", s->runs_dir,
			       strerror(-r), trouble_mend(-r));
	s->runs_fd = open(s->runs_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->runs_fd < 0)
		return err_set(e, E_STORAGE, "cannot open folder '%s': %s: %s", s->runs_dir,
			       strerror(errno), trouble_mend(errno));
	return 0;
}

static void store_boot_id(char *ret, size_t size)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (fd_read_file("/proc/sys/kernel/random/boot_id", 4096, &b) < 0)
		buf_clear(&b);
	while (b.len > 0 && b.p[b.len - 1] == '\n')
		b.len--;
	snprintf(ret, size, "%s", buf_str(&b));
}

static int store_read_boot(struct store *s, struct err *e)
{
	struct sql *sql = &s->writer.sql;
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int code = sqlite3_prepare_v2(sql->db, "SELECT value FROM meta WHERE key = 'boot'", -1,
				      &stmt, NULL);

	store_boot_id(s->writer.boot_id, sizeof(s->writer.boot_id));
	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	if (code == SQLITE_ROW) {
		const char *stored = (const char *)sqlite3_column_text(stmt, 0);

		s->rebooted = stored && strcmp(stored, s->writer.boot_id) != 0;
	}
	return code == SQLITE_ROW || code == SQLITE_DONE
		       ? 0
		       : sql_error(sql, code, "read the database", s->path, e);
}

static int store_read_meta(struct store *s, struct err *e)
{
	struct sql *sql = &s->writer.sql;
	int64_t id = 0, next_run = 0;
	const struct {
		const char *text;
		int64_t *ret;
	} wanted[] = {
		{ "SELECT value FROM meta WHERE key = 'store_id'", &id },
		{ "SELECT value FROM meta WHERE key = 'next_run'", &next_run },
		{ "SELECT value FROM meta WHERE key = 'rev'", &s->rev },
		{ "SELECT value FROM meta WHERE key = 'seq'", &s->writer.seq },
	};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		int code = sql_look(sql, wanted[i].text, wanted[i].ret);

		if (code != SQLITE_ROW)
			return sql_error(sql, code == SQLITE_DONE ? SQLITE_CORRUPT : code,
					 "read the database", s->path, e);
	}
	if (next_run == 0 || s->rev < 0 || s->writer.seq < 0)
		return sql_error(sql, SQLITE_CORRUPT, "read the database", s->path, e);
	s->id = (uint64_t)id;
	s->next_run = (uint64_t)next_run;
	return store_read_boot(s, e);
}

/* --- what a crash left over --- */

struct sweep {
	struct store *s;
	uint64_t next_run; /* as the database has it */
	bool newer_env;
	sqlite3_stmt *find, *measured;
};

/* Written by a batchd that did not measure yet. */
static void sweep_measure(struct sweep *w, uint64_t run)
{
	sqlite3_bind_int64(w->measured, 1, (int64_t)run);
	sqlite3_bind_int64(w->measured, 2, runfiles_log_bytes(w->s->runs_fd, run));
	if (sql_run(w->measured) != SQLITE_OK)
		log_debug("output of run %" PRIu64 " cannot be measured", run);
}

/*
 * Of a run that this database does not know yet: it was put back to what it was some time ago.
 * Nobody may take that for theirs, so the number counts as given. (An environment may also be from
 * a commit that never came about; it goes when the number is stored as given.)
 */
static bool sweep_newer(struct sweep *w, uint64_t run, enum runfile which)
{
	w->newer_env = w->newer_env || which == RUNFILE_ENV;
	w->s->next_run = MAX2(w->s->next_run, run + 1);
	return true;
}

static bool sweep_keep(void *arg, uint64_t run, enum runfile which)
{
	struct sweep *w = arg;
	struct sql_column c = { w->find, 0 };
	enum run_state state;
	int64_t bytes;
	int code;

	if (run >= w->next_run)
		return sweep_newer(w, run, which);
	sqlite3_reset(w->find);
	sqlite3_bind_int64(w->find, 1, (int64_t)run);
	code = sqlite3_step(w->find);
	if (code != SQLITE_ROW)
		return code != SQLITE_DONE; /* when in doubt, nothing goes */
	state = (enum run_state)sql_get_int(&c);
	bytes = sql_get_int(&c);
	if (!run_state_ended(state))
		return true;
	if (which == RUNFILE_ENV || sql_get_int(&c) != DROPPED_NOT)
		return false;
	if (which == RUNFILE_LOG && bytes == 0)
		sweep_measure(w, run);
	return true;
}

static bool sweep_keep_but_newer_env(void *arg, uint64_t run, enum runfile which)
{
	const struct sweep *w = arg;

	return which != RUNFILE_ENV || run < w->next_run;
}

/* What the sweep found is stored, and what it waited for with that removed. 0, or -errno when the
 * folder cannot be read. */
static int sweep_end(struct sweep *w)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct sql *sql = &w->s->writer.sql;

	if (w->newer_env)
		buf_addf(&b, "UPDATE meta SET value = %" PRIu64 " WHERE key = 'next_run';",
			 w->s->next_run);
	buf_adds(&b, "COMMIT");
	if (sql_exec(sql, buf_str(&b)) == SQLITE_OK)
		return w->newer_env ? runfiles_sweep(w->s->runs_dir, sweep_keep_but_newer_env, w)
				    : 0;
	if (!sqlite3_get_autocommit(sql->db) && sql_exec(sql, "ROLLBACK") != SQLITE_OK)
		log_debug("output cannot be measured now");
	return 0;
}

static int store_sweep(struct store *s, struct err *e)
{
	_cleanup_stmt_ sqlite3_stmt *find = NULL, *measured = NULL;
	struct sql *sql = &s->writer.sql;
	struct sweep w = { .s = s, .next_run = s->next_run };
	int r, code;

	code = sqlite3_prepare_v2(sql->db,
				  "SELECT state, log_bytes, dropped FROM run WHERE run = ?", -1,
				  &find, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(sql->db, "UPDATE run SET log_bytes = ?2 WHERE run = ?1",
					  -1, &measured, NULL);
	if (code != SQLITE_OK)
		return sql_error(sql, code, "read the database", s->path, e);
	w.find = find;
	w.measured = measured;
	code = sql_exec(sql, "BEGIN");
	r = runfiles_sweep(s->runs_dir, sweep_keep, &w);
	sqlite3_reset(find);
	if (code == SQLITE_OK && r == 0)
		r = sweep_end(&w);
	s->writer.log_bytes =
		sql_int(sql, "SELECT ifnull(sum(log_bytes), 0) FROM run WHERE log_bytes > 0", 0);
	if (r < 0)
		return err_set(e, E_STORAGE, "cannot read folder '%s': %s", s->runs_dir,
			       strerror(-r));
	return 0;
}

/* Behind a symlink SQLite keeps what belongs to the database beside the file that is meant. */
static void store_resolve(struct store *s)
{
	struct stat st;
	bool link = lstat(s->path, &st) == 0 && S_ISLNK(st.st_mode);
	char *path = link ? realpath(s->path, NULL) : NULL;

	if (!path)
		return; /* there is none, or opening it tells what is wrong */
	free(s->path);
	s->writer.path = s->reader.path = s->path = path;
}

static int store_open_database(struct store *s, struct err *e)
{
	int code, version;

	if (state_dir_first(s->dir, e) || store_touch(s->path, e))
		return 1;
	store_resolve(s);
	code = sql_open_as_it_is(&s->writer.sql, s->path, writer_statements);
	if (code == SQLITE_OK) {
		if (migrate_check(&s->writer.sql, s->path, n_migrations, &version, e) ||
		    schema_check(&s->writer.sql, s->path, migrations, version, e))
			return 1;
		code = sql_make_writer(&s->writer.sql);
	}
	if (code != SQLITE_OK)
		return sql_error(&s->writer.sql, code, "open the database", s->path, e);
	if (migrate(&s->writer.sql, s->path, migrations, n_migrations, e) || store_read_meta(s, e))
		return 1;
	writer_watch_log(&s->writer);
	code = writer_guard(&s->writer);
	if (code != SQLITE_OK)
		return sql_error(&s->writer.guard, code, "open the database", s->path, e);
	if (runs_owner_check(s->dir, s->id, e))
		return 1;
	runs_owner_set(s->dir, s->id);
	return store_sweep(s, e);
}

/* --- the two lanes --- */

static void store_write(void *arg, struct list *jobs)
{
	struct store *s = arg;
	const struct write_job *last =
		list_entry(list_entry(jobs->prev, struct lane_job, node), struct write_job, job);

	writer_group(&s->writer, jobs);
	if (last->status != TXN_FAILED)
		spare_keep(&s->spare, s->dir);
}

static int64_t store_rest(void *arg, bool idle)
{
	struct store *s = arg;

	return writer_rest(&s->writer, idle);
}

struct read_job {
	struct lane_job job;
	void (*fn)(struct sql_reader *r, void *arg);
	void (*done)(void *arg);
	void *arg;
};

/* The clients': what is read is written to them in the same turn, without another look at all
 * descriptors. */
#define PRIORITY_READS 1

/* So many reads share a transaction: while it is open the database's log cannot begin anew. */
#define READS_TOGETHER 64

/* What waits was handed in after all that it is to see, so one look is late enough for all. */
static void store_read_jobs(void *arg, struct list *jobs)
{
	struct store *s = arg;
	unsigned n = 0, files = atomic_load(&s->writer.files);

	if (files != s->reader_files)
		sql_reader_close(&s->reader);
	s->reader_files = files;
	list_for (jobs, node) {
		struct read_job *job =
			list_entry(list_entry(node, struct lane_job, node), struct read_job, job);

		if (n % READS_TOGETHER == 0) {
			sql_reader_end(&s->reader);
			sql_reader_begin(&s->reader);
		}
		n++;
		job->fn(&s->reader, job->arg);
	}
	sql_reader_end(&s->reader);
}

/* Files of forgotten runs, or of output that was dropped. */
struct remove_job {
	struct lane_job job;
	uint64_t *runs;
	size_t n;
	void (*done)(void *arg);
	void *arg;
};

static void store_remove_jobs(void *arg, struct list *jobs)
{
	struct store *s = arg;

	list_for (jobs, node) {
		struct remove_job *job =
			list_entry(list_entry(node, struct lane_job, node), struct remove_job, job);

		for (size_t i = 0; i < job->n; i++)
			runfiles_remove_log(s->runs_fd, job->runs[i]);
	}
}

static int store_start_lanes(struct store *s, struct event_base *base, struct err *e)
{
	int r = lane_new(base, 0, store_write, store_rest, s, &s->write_lane);

	if (r == 0)
		r = lane_new(base, PRIORITY_READS, store_read_jobs, NULL, s, &s->read_lane);
	if (r == 0)
		r = lane_new(base, 0, store_remove_jobs, NULL, s, &s->files_lane);
	return r < 0 ? err_set(e, E_STORAGE, "cannot start a thread of the store: %s", strerror(-r))
		     : 0;
}

static struct store *store_new(const struct store_config *config)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->dir = xstrdup(config->state_dir);
	s->path = xasprintf("%s/batchd.db", s->dir);
	s->runs_dir = xasprintf("%s/runs", s->dir);
	s->lock_fd = s->runs_fd = -1;
	s->writer.path = s->reader.path = s->path;
	s->writer.database.fd = s->writer.wal.fd = -1;
	s->writer.runs_dir = s->runs_dir;
	s->writer.sync_log = config->sync_log;
	return s;
}

int store_open(const struct store_config *config, struct store **ret, pid_t *ret_holder,
	       struct err *e)
{
	struct store *s = store_new(config);
	/* Nobody asks SQLite how much memory it has, and to count that takes a lock each time.
	 * Refused when it has been used before: then it counts. */
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	int r = state_dir_check(s->dir, e);

	if (r == 0)
		r = state_dir_lock(s->dir, config->socket, &s->lock_fd, ret_holder, e);
	if (r == 0)
		r = store_open_runs(s, e);
	if (r == 0)
		r = store_open_database(s, e);
	if (r == 0) {
		s->writer.runs_fd = s->runs_fd;
		r = store_start_lanes(s, config->base, e);
	}
	if (r != 0) {
		store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void store_leave(struct store *s)
{
	lock_tell_leaving(s->lock_fd);
}

struct store *store_close(struct store *s)
{
	if (!s)
		return NULL;
	s->write_lane = lane_free(s->write_lane);
	s->read_lane = lane_free(s->read_lane);
	s->files_lane = lane_free(s->files_lane);
	sql_reader_close(&s->reader);
	writer_close(&s->writer);
	if (s->runs_fd >= 0)
		close(s->runs_fd);
	/* Last: who waits for the lock must find everything closed. */
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	free(s->runs_dir);
	free(s->path);
	free(s->dir);
	free(s);
	return NULL;
}

/* --- writing and reading --- */

static bool txn_changes_past(const struct txn *t)
{
	for (const struct txn_record *r = txn_first(t); r; r = r->next)
		if (r->kind == TXN_FORGET || r->kind == TXN_DROP)
			return true;
	return false;
}

uint64_t store_past_rev(const struct store *s)
{
	return s->past_changing ? 0 : s->past_rev + 1;
}

static void store_write_done(struct lane_job *lane_job)
{
	struct write_job *job = list_entry(lane_job, struct write_job, job);
	_cleanup_free_ struct err *e = job->e;
	struct txn *t = job->txn;
	enum txn_status status = job->status;
	uint64_t existing = job->existing;

	if (job->changes_past)
		--*job->changes_past;
	free(job);
	txn_finish(t, status, existing, status == TXN_FAILED ? e : NULL);
}

void store_commit(struct store *s, struct txn *t)
{
	struct write_job *job = xcalloc(1, sizeof(*job));

	job->job.done = store_write_done;
	job->txn = t;
	if (txn_changes_past(t)) {
		job->changes_past = &s->past_changing;
		s->past_changing++;
		s->past_rev++;
	}
	lane_submit(s->write_lane, &job->job);
}

void store_give_spare(struct store *s)
{
	store_drain(s); /* from here on it is ours, and not the lane's */
	spare_give(&s->spare, s->dir);
}

static void store_read_done(struct lane_job *lane_job)
{
	struct read_job *job = list_entry(lane_job, struct read_job, job);
	void (*done)(void *arg) = job->done;
	void *arg = job->arg;

	free(job);
	done(arg);
}

void store_read(struct store *s, void (*fn)(struct sql_reader *r, void *arg),
		void (*done)(void *arg), void *arg)
{
	struct read_job *job = xcalloc(1, sizeof(*job));

	job->job.done = store_read_done;
	job->fn = fn;
	job->done = done;
	job->arg = arg;
	lane_submit(s->read_lane, &job->job);
}

static void store_remove_done(struct lane_job *lane_job)
{
	struct remove_job *job = list_entry(lane_job, struct remove_job, job);
	void (*done)(void *arg) = job->done;
	void *arg = job->arg;

	free(job->runs);
	free(job);
	done(arg);
}

void store_remove_files(struct store *s, const uint64_t *runs, size_t n, void (*done)(void *arg),
			void *arg)
{
	struct remove_job *job = xcalloc(1, sizeof(*job));

	job->job.done = store_remove_done;
	job->runs = xcalloc(n, sizeof(*runs));
	if (n)
		memcpy(job->runs, runs, n * sizeof(*runs));
	job->n = n;
	job->done = done;
	job->arg = arg;
	lane_submit(s->files_lane, &job->job);
}

/* A completion of one lane may hand work to another: until a round finds all idle. */
void store_drain(struct store *s)
{
	do {
		lane_drain(s->write_lane);
		lane_drain(s->read_lane);
		lane_drain(s->files_lane);
	} while (!lane_idle(s->write_lane) || !lane_idle(s->read_lane));
}

/* --- what was there at the start --- */

const char *store_path(const struct store *s)
{
	return s->path;
}

const char *store_runs_dir(const struct store *s)
{
	return s->runs_dir;
}

uint64_t store_id(const struct store *s)
{
	return s->id;
}

uint64_t store_next_run(const struct store *s)
{
	return s->next_run;
}

int64_t store_log_bytes(const struct store *s)
{
	return atomic_load(&s->writer.log_bytes);
}

int64_t store_rev(const struct store *s)
{
	return s->rev;
}

bool store_rebooted(const struct store *s)
{
	return s->rebooted;
}

void store_mark_boot(struct store *s)
{
	atomic_store(&s->writer.mark_boot, true);
}
