/*
 * The steps that submit, add, run and each have in common.
 */
#ifndef CLIENT_SUBMIT_H
#define CLIENT_SUBMIT_H

#include <jansson.h>

#include "client/batch_build.h"

/* Flags that make no sense together. An exit status. */
int submit_check(struct ctx *c, const struct submit_options *o) _must_check_;
/* The command of add, run and each: the operands, or the one -e. An exit status. */
int submit_command(struct ctx *c, const struct submit_options *o,
		   struct batch_source *from) _must_check_;
/* Builds the batch of `from` and submits it, starting batchd where none runs; warnings go to
 * stderr. With a key it is sent again when batchd dies before it answers. An exit status. */
int submit_send(struct ctx *c, const struct submit_options *o, const struct batch_source *from,
		int64_t *ret_run, bool *ret_existing) _must_check_;
/* -n: prints the plan and what there is to warn of, submits nothing. An exit status. */
int submit_plan(struct ctx *c, const struct submit_options *o,
		const struct batch_source *from) _must_check_;
/* Tells of the new run on stdout: its id, or the method's result under --json. An exit status. */
int submit_tell(struct ctx *c, int64_t run, bool existing) _must_check_;
/* What add and submit do with `from`: the plan under -n; else it is sent and told of, and with -w
 * followed to its end. An exit status. */
int submit_and_follow(struct ctx *c, const struct submit_options *o,
		      const struct batch_source *from) _must_check_;
/* Reads a batch file (NULL or "-": stdin) as submit, check, parse and fmt do. An exit status. */
int submit_read(struct ctx *c, const struct reading *how, const char *name,
		json_t **ret) _must_check_;

/* The same for what is to be submitted: packs {batch: {what the file says}} into from->file, both
 * maps still open. `sent`: it goes to batchd, which may be left to prove it. */
int submit_read_packed(struct ctx *c, const struct reading *how, const char *name, bool sent,
		       struct batch_source *from) _must_check_;

#endif
