/*
 * Any bytes as a batch file: reading must not crash, and a batch that is read survives being
 * printed in the notation, as JSON and as MessagePack. The first byte chooses the options.
 */
#include "client/batchfile.h"
#include "client/json.h"
#include "client/notation.h"
#include "proto/batch.h"
#include "tests/fuzz/fuzz.h"

static json_t *fuzz_read(const char *how, struct buf *text)
{
	static const struct reading plain;
	struct err e = ERR_INIT;
	json_t *again;
	if (batchfile_parse("again", buf_slice(text), &plain, &again, &e)) {
		fprintf(stderr, "%s is refused: %s\n%s\n", how, e.text, buf_str(text));
		abort();
	}
	return again;
}

static void fuzz_equal(const char *how, const json_t *batch, struct buf *text)
{
	json_t *again = fuzz_read(how, text);
	if (!json_equal(batch, again)) {
		struct buf b = BUF_INIT;
		json_print(batch, JSON_PRETTY, &b);
		fprintf(stderr, "%s changed it:\n%s\n%s\n", how, buf_str(&b), buf_str(text));
		abort();
	}
	json_decref(again);
	buf_done(text);
}

/* In MessagePack {$bin: ...} that is UTF-8 is the same as the string. */
static void fuzz_same_meaning(const json_t *batch)
{
	struct buf packed = BUF_INIT, repacked = BUF_INIT;
	uint8_t digests[2][32];
	HOLDS(json_to_mp(batch, &packed, NULL) == 0);
	json_t *again = fuzz_read("MessagePack", &packed);
	HOLDS(json_to_mp(again, &repacked, NULL) == 0);
	batch_digest(buf_slice(&packed), digests[0]);
	batch_digest(buf_slice(&repacked), digests[1]);
	HOLDS(memcmp(digests[0], digests[1], sizeof(digests[0])) == 0);
	json_decref(again);
	buf_done(&packed);
	buf_done(&repacked);
}

static void fuzz_forms(const json_t *batch)
{
	struct buf notation = BUF_INIT, json = BUF_INIT;
	notation_print(batch, &notation);
	fuzz_equal("notation", batch, &notation);
	json_print(batch, JSON_PRETTY, &json);
	fuzz_equal("JSON", batch, &json);
	fuzz_same_meaning(batch);
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
