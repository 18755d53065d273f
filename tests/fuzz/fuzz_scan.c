/* The scanner: pieces give what the whole gives, and what it lets through msgpack-c unpacks to the
 * same end. */
#include <msgpack.h>
#include <string.h>

#include "proto/mp.h"
#include "proto/scan.h"
#include "tests/fuzz/fuzz.h"

static enum scan_result scan_in(const uint8_t *data, size_t size, size_t piece, size_t *ret_used,
				const char **ret_why)
{
	struct scan s;
	enum scan_result r = SCAN_MORE;
	size_t at = 0;
	scan_init(&s);
	while (r == SCAN_MORE && at < size) {
		size_t n = size - at < piece ? size - at : piece, used = 0;
		r = scan_feed(&s, data + at, n, &used);
		HOLDS(used <= n && (r != SCAN_MORE || used == n));
		at += used;
	}
	*ret_used = at;
	*ret_why = s.why;
	return r;
}

static void against_msgpack_c(const uint8_t *data, size_t size, enum scan_result r, size_t used)
{
	msgpack_unpacked u;
	size_t off = 0;
	msgpack_unpacked_init(&u);
	msgpack_unpack_return got = msgpack_unpack_next(&u, (const char *)data, size, &off);
	if (r == SCAN_DONE)
		HOLDS((got == MSGPACK_UNPACK_SUCCESS || got == MSGPACK_UNPACK_EXTRA_BYTES) &&
		      off == used);
	else if (r == SCAN_MORE)
		HOLDS(got == MSGPACK_UNPACK_CONTINUE);
	else
		HOLDS(got == MSGPACK_UNPACK_PARSE_ERROR || got == MSGPACK_UNPACK_NOMEM_ERROR);
	msgpack_unpacked_destroy(&u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t used, used_pieces;
	const char *why, *why_pieces;
	enum scan_result r = scan_in(data, size, size + 1, &used, &why);
	for (size_t piece = 1; piece <= 5; piece += 2) {
		HOLDS(scan_in(data, size, piece, &used_pieces, &why_pieces) == r);
		HOLDS(r != SCAN_DONE || used == used_pieces);
	}
	if (r == SCAN_DONE) {
		struct mp m = { (const char *)data, (const char *)data + size };
		HOLDS(mp_skip(&m).len == used);
	}
	bool ours =
		r == SCAN_REFUSED && strcmp(why, "too deep") != 0 && strcmp(why, "byte 0xc1") != 0;
	if (size > 0 && !ours) /* limits that msgpack-c has not */
		against_msgpack_c(data, size, r, used);
	return 0;
}
