/*
 * Reads a batch file of any kind by its content (contract section 2): JSON, MessagePack, a JSON
 * array of tool calls, the batch notation, a markdown document that holds some. What comes out is
 * proved as batchd itself would prove it (plan_make), as far as that needs no files.
 */
#ifndef CLIENT_BATCHFILE_H
#define CLIENT_BATCHFILE_H

#include <jansson.h>

#include "client/verbs.h"
#include "common/err.h"
#include "common/slice.h"

/*
 * Reads `file` ("-": stdin). *ret_batch is a new reference to the batch's map as on the wire
 * (client/json.h says how bytes are held), with nothing filled in that the file does not say:
 * neither cwd nor environment. Lines about what was skipped go to stderr. 1 with e ("FILE:LINE:COL:
 * ...") when it cannot be read or is refused.
 */
int batchfile_read(const char *file, const struct reading *how, json_t **ret_batch,
		   struct err *e) _must_check_;
/* The same from memory; `name` is for errors. */
int batchfile_parse(const char *name, struct slice text, const struct reading *how,
		    json_t **ret_batch, struct err *e) _must_check_;
/*
 * The same two, packed: the keys are added to the open map of pk, which is empty. JSON as batches
 * mostly are goes there without a tree (json_text.h); is it long, and ret_unproved not NULL, it is
 * not proved, which would be done twice: *ret_unproved is then the file as errors call it, else
 * left alone. After an error what is in pk is of no use.
 */
struct pk;
int batchfile_read_packed(const char *file, const struct reading *how, struct pk *pk,
			  const char **ret_unproved, struct err *e) _must_check_;
/* What the open map of pk holds by now; `name` is for errors. 0, or 1 with e. */
int batchfile_prove(const char *name, struct pk *pk, struct err *e) _must_check_;
int batchfile_pack(const char *name, struct slice text, const struct reading *how, struct pk *pk,
		   struct err *e) _must_check_;

#endif
