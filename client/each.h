/*
 * each: a command for each of many arguments, by GNU parallel's grammar. In steps, a file each:
 *
 *	each_source.c	the arguments of one source: the words behind a `:::`, the lines of a file
 *	each_input.c	the sources, crossed or linked: records
 *	each_template.c	the command with its replacement strings, and what it is for some records
 *	each_jobs.c	which records make a job: -n, -N, -X, -m; which are done already: --resume
 *	each_ops.c	the jobs as ops of a batch
 *	each_run.c	the jobs as a run (or several, where one batch cannot hold them), to its end
 *
 * What comes out: each_show.c (output, bar), each_log.c (--joblog), each_results.c (--results).
 *
 * Arguments are kept once, as they were read; a job is a range of records, and its text is made
 * when it is needed, so that a million of them cost what their arguments cost.
 */
#ifndef CLIENT_EACH_H
#define CLIENT_EACH_H

#include <regex.h>

#include "client/ctx.h"
#include "client/submit_opts.h"

/* The row offsets of SUBMIT_OPT count from the start: `submit` is first. */
struct each_options {
	struct submit_options submit;
	struct strv files, passed;
	const char *jobs, *tagstring, *halt, *joblog, *results, *colsep, *delimiter, *replace,
		*trim, *header, *workdir, *arg_sep, *arg_file_sep, *pool, *unused;
	struct opt_int retries, timeout, delay, max_args, replace_args, max_chars, lines, max_lines,
		nice;
	bool tag, keep_order, ungroup, line_buffer, bar, eta, progress, dry_run, resume,
		resume_failed, null, context, spread, xargs, no_empty, link, quote, trace, shuffle,
		plus, ignored;
};

/* The arguments of one record, or of several one after another. */
struct each_args {
	struct slice *v;
	size_t n, cap;
};

void each_args_add(struct each_args *a, struct slice one);

/* ---- each_source.c ---- */

struct each_source {
	struct each_args args;
	struct buf text;   /* what they are slices of, where they were read */
	struct buf joined; /* -L: and where a blank at the end of a line joined the next to it */
	bool linked;	   /* to the source before: taken together, not crossed */
	const char *file;  /* where they were read; NULL: words of the line */
};

/* What ends an argument in a file: a newline, or what -0 and -d say. An exit status. */
int each_delimiter(struct ctx *c, const struct each_options *o, char *ret) _must_check_;
/* Adds all of a file, or of stdin ("-"). An exit status. */
int each_source_read(struct ctx *c, struct each_source *s, const char *name,
		     char delimiter) _must_check_;
/* Takes the first one away: --header. False: there is none. */
bool each_source_head(struct each_source *s, struct slice *ret);
/* As \s of Perl. */
static inline bool each_is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}
/* -r: leaves blank ones out. -L: a blank at its end joins an argument and the next. */
void each_source_tidy(struct each_source *s, const struct each_options *o);
void each_source_done(struct each_source *s);

/* ---- each_input.c ---- */

struct each_input {
	struct each_source *sources;
	size_t n_sources;
	size_t n_records;
	uint32_t *order;	/* --shuf: which record is the one asked for; else NULL */
	struct each_args names; /* --header: of each argument of a record */
	bool wraps; /* --link: the shorter ones begin anew; `:::+` ends with the shortest */
	bool splits;
	regex_t colsep;
};

/* Reads all arguments: `words` are those of the line from the first `:::` on. An exit status. */
int each_input_read(struct ctx *c, const struct each_options *o, const char *const *words,
		    struct each_input *in) _must_check_;
void each_input_done(struct each_input *in);
/* Is it `:::`, `::::` or what --arg-sep and --arg-file-sep say instead, a `+` behind it or not? */
bool each_is_separator(const struct each_options *o, const char *word);
/* Appends the arguments of record `index`. */
void each_input_record(const struct each_input *in, size_t index, struct each_args *args);

/* ---- each_template.c ---- */

enum each_what {
	EACH_TEXT,
	EACH_BLANK, /* a blank as written: where words end, for -X */
	EACH_WORD,  /* between two words of the line */
	EACH_ARG,
	EACH_SEQ,
	EACH_TOTAL, /* --plus */
	EACH_SLOT
};
enum each_edit {
	EDIT_NONE,
	EDIT_NO_EXT,
	EDIT_BASE,
	EDIT_DIR,
	EDIT_BASE_NO_EXT,
	/* --plus: a number of extensions off, or only them; and the folder, which may be none */
	EDIT_NO_EXT_2,
	EDIT_NO_EXT_3,
	EDIT_BASE_NO_EXT_2,
	EDIT_BASE_NO_EXT_3,
	EDIT_EXT,
	EDIT_EXT_2,
	EDIT_EXT_3,
	EDIT_BEFORE_BASE
};

struct each_part {
	enum each_what what;
	struct slice text;   /* EACH_TEXT, EACH_BLANK */
	enum each_edit edit; /* EACH_ARG */
	int64_t position;    /* EACH_ARG: 0: all arguments; negative: from the last */
};

struct each_template {
	struct each_part *parts;
	size_t n, cap;
	bool quote_args;	    /* for the shell */
	bool quote_words;	    /* --quote */
	bool context;		    /* -X: a word that holds {} is there once for each argument */
	bool has_slot;		    /* {%}, $PARALLEL_JOBSLOT */
	bool trim_left, trim_right; /* blanks off each argument */
	bool plus;		    /* --plus: more replacement strings */
	const size_t *total;	    /* of jobs, once they are made */
	const struct each_args *names; /* what else may stand between braces; NULL: nothing */
};

/* One word of the command; `replace` stands for {}, NULL: itself. An exit status. */
int each_template_add(struct ctx *c, struct each_template *t, const char *word,
		      const char *replace) _must_check_;
/* Does it hold any replacement string? */
bool each_template_replaces(const struct each_template *t);
void each_template_done(struct each_template *t);
/* Appends what it is for these arguments. */
void each_template_expand(const struct each_template *t, const struct each_args *args, size_t seq,
			  size_t slot, struct buf *b);
/* How much longer each argument makes it, about. */
size_t each_template_cost(const struct each_template *t, const struct each_args *args);

/* ---- each_jobs.c ---- */

struct each_job {
	size_t first; /* its records */
	uint32_t n;
	bool skip;  /* --resume: done before */
	bool ended; /* waits to be shown, or was */
	bool logged;
};

struct each {
	struct ctx *c;
	struct each_options *o;
	struct each_input input;
	struct each_template command, tag, results, workdir;
	struct each_job *jobs;
	size_t n_jobs, cap_jobs, n_todo; /* n_todo: those not done before */
	int64_t slots;			 /* -j; 0: as many as the pool has */
	bool by_name;			 /* --results is a name with replacement strings */
	struct each_args args;		 /* of the job looked at last */
	struct buf daemon;		 /* --nice: its status, which names the shell */
};

int each_jobs_make(struct each *e) _must_check_;
/* The arguments of a job, valid until the next call. */
const struct each_args *each_job_args(struct each *e, size_t job);
/* Appends what a template is for the job. */
void each_job_expand(struct each *e, size_t job, const struct each_template *t, struct buf *b);
/* Appends the job's command. */
void each_job_command(struct each *e, size_t job, struct buf *b);
/* Appends the folder that it runs in, absolute, where --workdir names one. */
void each_job_folder(struct each *e, size_t job, struct buf *b);
/* {%} of a job: jobs take the slots in turn, so that no two with one slot run at once. */
size_t each_job_slot(const struct each *e, size_t job);
/* Does anything ask which slot it has? */
bool each_has_slots(const struct each *e);
/* Appends its tag, with the tab behind it; nothing without --tag. */
void each_job_tag(struct each *e, size_t job, struct buf *b);

/* ---- each_log.c ---- */

/* How a job ended, as the log tells it. */
struct each_end {
	int64_t started, ended; /* wall clock, ms */
	int64_t bytes;		/* of its stdout, where it passed through us */
	int exit, signal;
};

/* Marks the jobs that the log (or --results) knows as done. An exit status. */
int each_log_resume(struct each *e) _must_check_;
/* Opens the log, with its head where it is new. *ret_fd: -1 without --joblog. An exit status. */
int each_log_open(struct each *e, int *ret_fd) _must_check_;
int each_log_add(struct each *e, int fd, size_t job, const struct each_end *end) _must_check_;

/* ---- each_results.c ---- */

/* Appends the path of one of the job's files: "stdout", "stderr" or "seq". */
void each_results_path(struct each *e, size_t job, const char *which, struct buf *b);
/* Makes the job's files, with the folders they are in; seq is written. The two fds are the
 * caller's. An exit status. */
int each_results_open(struct each *e, size_t job, int ret_fds[2]) _must_check_;

/* ---- each_halt.c ---- */

enum each_count { COUNT_FAIL, COUNT_SUCCESS, COUNT_DONE };

struct each_halt {
	bool on, now, percent;
	enum each_count count;
	int64_t limit; /* so many of them; of --halt N% what that comes to */
	/* how it goes */
	int64_t total, failed, succeeded;
	bool reached;
	int status; /* what each exits with, once reached */
};

/* `text` as --halt has it. 0, or 1 with e filled. */
int each_halt_parse(const char *text, struct each_halt *h, struct err *e) _must_check_;
/* Counts an end; `status` is the job's as a shell has it. */
void each_halt_count(struct each_halt *h, int status);
/* What each exits with. */
int each_halt_status(const struct each_halt *h);
/* As the batch says it. */
void each_halt_print(const struct each_halt *h, struct buf *b);

/* ---- each_ops.c ---- */

struct pk;

/* The ops of one run: as many jobs as a batch holds. */
struct each_ops {
	struct each *e;
	size_t next;  /* the first job that no run has yet */
	size_t *jobs; /* of each op, from 0; the caller's, with room for LIMIT_OPS or for all */
	uint32_t n;
};

/* Before the first: which shell is to run them under --nice. An exit status. */
int each_ops_learn_shell(struct each *e) _must_check_;
/* batch_source's `pack`: the ops of the next run; arg: the each_ops. */
void each_ops_pack(void *arg, struct pk *pk);

/* ---- each_run.c ---- */

/* Runs the jobs; the exit status of each. */
int each_run(struct each *e, const struct each_halt *halt);

#endif
