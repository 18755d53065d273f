/*
 * Any bytes as a batch file: reading must not crash, and a batch that is read survives being printed in the notation, as JSON and
 * as MessagePack. The first byte chooses the options.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/batchfile.h"
#include "client/json.h"
#include "client/notation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_read_back(const char *how, const json_t *batch, struct buf *text)
{
	static const struct reading plain;
	struct err e = ERR_INIT;
	json_t *again;
	if (batchfile_parse("again", buf_slice(text), &plain, &again, &e)) {
		fprintf(stderr, "%s is refused: %s\n%s\n", how, e.text, buf_str(text));
		abort();
	}
	if (!json_equal(batch, again)) {
		struct buf b = BUF_INIT;
		json_print(batch, JSON_PRETTY, &b);
		fprintf(stderr, "%s changed it:\n%s\n%s\n", how, buf_str(&b), buf_str(text));
		abort();
	}
	json_decref(again);
	buf_done(text);
}

static void fuzz_forms(const json_t *batch)
{
	struct buf notation = BUF_INIT, json = BUF_INIT, packed = BUF_INIT;
	notation_print(batch, &notation);
	fuzz_read_back("notation", batch, &notation);
	json_print(batch, JSON_PRETTY, &json);
	fuzz_read_back("JSON", batch, &json);
	if (json_to_mp(batch, &packed, NULL))
		abort();
	fuzz_read_back("MessagePack", batch, &packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *defines[] = { "x=text", "a.b=${y}" };
	struct reading how = { .define = { defines, 2 } };
	struct err e = ERR_INIT;
	json_t *batch;
	if (size == 0)
		return 0;
	how.skip_unknown = data[0] & 1;
	how.allow_template = data[0] & 2;
	how.block = data[0] & 4 ? "all" : NULL;
	if (batchfile_parse("fuzz", slice_of(data + 1, size - 1), &how, &batch, &e) == 0) {
		fuzz_forms(batch);
		json_decref(batch);
	}
	return 0;
}
