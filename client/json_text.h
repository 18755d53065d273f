/*
 * JSON text straight into MessagePack, no tree between: what a large batch costs is then its text
 * and its packed form.
 *
 * Takes the usual and nothing else. Whatever is wrong, and whatever is rare (a float, an escape in
 * a key, a map of very many keys), is left to json_read and json_to_mp, whose errors name it: what
 * is taken here they take too, with the same bytes (tests/fuzz/fuzz_json.c).
 */
#ifndef CLIENT_JSON_TEXT_H
#define CLIENT_JSON_TEXT_H

#include <stdbool.h>

#include "common/slice.h"

struct pk;

/* Packs exactly one value. false, with pk as it was: ask json_read. */
bool json_text_value(struct slice text, struct pk *pk);
/*
 * Adds the keys of a batch to the open map of pk, as batchfile_parse would have them: without the
 * null values of batch, messages and ops. false, with pk as it was, also where the text is no map,
 * has no messages, or has todo items, which are put into form first.
 */
bool json_text_batch(struct slice text, struct pk *pk);

#endif
