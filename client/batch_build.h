/*
 * From the command line to a packed batch: what a file or -e says, with the flags of submit_opts.h
 * laid over it, and our folder, environment and umask filled in where the file names none.
 */
#ifndef CLIENT_BATCH_BUILD_H
#define CLIENT_BATCH_BUILD_H

#include "client/submit_opts.h"
#include "common/slice.h"

/* What the ops come from: exactly one of the four. */
struct pk;

struct batch_source {
	struct pk *file; /* a batch file read: what it says stands in the open map (borrowed) */
	const char *unproved; /* the file as errors call it, where its proof is left to batchd; or
				 NULL */
	const struct strv *commands; /* one parallel message of bash ops */
	const char *const
		*argv; /* one op: a bash command if argc is 1, else an argv byte for byte */
	int argc;
	const struct slice *op_stdin; /* of that one op; NULL: none */
	bool no_output_cap;	      /* its stdout is data: run, each */
	/* Or what packs the ops of one message, and what that message says besides: each. */
	void (*pack)(void *arg, struct pk *pk);
	void *pack_arg;
	const char *halt;	/* NULL: nothing */
	struct opt_int spacing; /* ms */
};

/*
 * Adds the batch's keys to the open map of pk, from->file where there is one. Selectors of --after
 * are resolved by calls, so c must be connected when there are any. An exit status.
 */
int batch_build(struct ctx *c, const struct submit_options *o, const struct batch_source *from,
		struct pk *pk) _must_check_;

/*
 * Packs "env_base": the environment we run in. A word without "=" cannot be said on the wire and is
 * no variable to anybody; of two with one name the first counts, as getenv(3) has it.
 */
void batch_pack_environ(struct pk *pk);

#endif
