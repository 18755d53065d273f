/* The scanner against msgpack-c, which must find the same end in whatever the scanner lets through;
 * pieces against the whole. */
#include <check.h>
#include <msgpack.h>
#include <stdbool.h>

#include "common/buf.h"
#include "proto/mp.h"
#include "proto/scan.h"

struct outcome {
	enum scan_result result;
	size_t used;
	const char *why;
};

static struct outcome scan_pieces(const void *p, size_t len, size_t piece)
{
	struct scan s;
	struct outcome o = { SCAN_MORE, 0, NULL };
	scan_init(&s);
	while (o.used < len && o.result == SCAN_MORE) {
		size_t n = len - o.used < piece ? len - o.used : piece, used = 0;
		/* a copy of exactly this size, so that a read beyond it is seen by valgrind and
		 * ASan */
		char *copy = malloc(n);
		memcpy(copy, (const char *)p + o.used, n);
		o.result = scan_feed(&s, copy, n, &used);
		free(copy);
		ck_assert(used <= n);
		if (o.result == SCAN_MORE)
			ck_assert_uint_eq(used, n);
		o.used += used;
	}
	o.why = s.why;
	return o;
}

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % below;
}

/* Scanner, scanner by bytes and by threes, and msgpack-c agree on p. */
static void agree(const char *p, size_t len)
{
	struct outcome whole = scan_pieces(p, len, len + 1);
	for (size_t piece = 1; piece <= 3; piece += 2) {
		struct outcome some = scan_pieces(p, len, piece);
		ck_assert_int_eq(some.result, whole.result);
		if (whole.result == SCAN_DONE)
			ck_assert_uint_eq(some.used, whole.used);
	}
	if (whole.result == SCAN_REFUSED &&
	    (strcmp(whole.why, "too long") == 0 || strcmp(whole.why, "too many values") == 0 ||
	     strcmp(whole.why, "ext type") == 0))
		return; /* msgpack-c has no such rule */
	msgpack_unpacked u;
	size_t off = 0;
	msgpack_unpacked_init(&u);
	msgpack_unpack_return r = msgpack_unpack_next(&u, p, len, &off);
	if (whole.result == SCAN_DONE) {
		ck_assert(r == MSGPACK_UNPACK_SUCCESS || r == MSGPACK_UNPACK_EXTRA_BYTES);
		ck_assert_uint_eq(off, whole.used);
	} else if (whole.result == SCAN_MORE) {
		ck_assert_int_eq(r, MSGPACK_UNPACK_CONTINUE);
	} else {
		ck_assert(r == MSGPACK_UNPACK_PARSE_ERROR || r == MSGPACK_UNPACK_NOMEM_ERROR);
	}
	msgpack_unpacked_destroy(&u);
}

static const struct {
	const char *name;
	const char *bytes;
	size_t len;
	enum scan_result want;
	size_t used;
	const char *why;
} rows[] = {
#define ROW(name, bytes, want, used, why)                                                          \
	{                                                                                          \
		name, bytes, sizeof(bytes) - 1, want, used, why                                    \
	}
	ROW("nothing", "", SCAN_MORE, 0, NULL),
	ROW("nil", "\xc0", SCAN_DONE, 1, NULL),
	ROW("more behind", "\xc0\xc0", SCAN_DONE, 1, NULL),
	ROW("empty array", "\x90", SCAN_DONE, 1, NULL),
	ROW("empty map in map", "\x81\xa1k\x80z", SCAN_DONE, 4, NULL),
	ROW("str cut",
	    "\xa3"
	    "ab",
	    SCAN_MORE, 3, NULL),
	ROW("str8 head cut", "\xd9", SCAN_MORE, 1, NULL),
	ROW("str16", "\xda\0\2abz", SCAN_DONE, 5, NULL),
	ROW("empty bin", "\xc4\0", SCAN_DONE, 2, NULL),
	ROW("float", "\xcb\0\0\0\0\0\0\0\0", SCAN_DONE, 9, NULL),
	ROW("float cut", "\xcb\0\0\0\0\0\0\0", SCAN_MORE, 8, NULL),
	ROW("0xc1", "\xc1", SCAN_REFUSED, 1, "byte 0xc1"),
	ROW("0xc1 inside", "\x92\xc0\xc1", SCAN_REFUSED, 3, "byte 0xc1"),
	ROW("fixext", "\xd4", SCAN_REFUSED, 1, "ext type"),
	ROW("ext8", "\xc7\0\0", SCAN_REFUSED, 3, "ext type"),
	ROW("array32 of all", "\xdd\xff\xff\xff\xff", SCAN_REFUSED, 5, "too many values"),
	ROW("map32 of all", "\xdf\xff\xff\xff\xff", SCAN_REFUSED, 5, "too many values"),
	ROW("map32 whose double wraps", "\xdf\x80\0\0\0", SCAN_REFUSED, 5, "too many values"),
	ROW("str32 of 4 GiB", "\xdb\xff\xff\xff\xff", SCAN_REFUSED, 5, "too long"),
	ROW("bin32 one beyond", "\xc6\x03\xff\xff\xfc", SCAN_REFUSED, 5, "too long"),
	ROW("bin32 that just fits", "\xc6\x03\xff\xff\xfb", SCAN_MORE, 5, NULL),
#undef ROW
};

START_TEST(test_rows)
{
	struct outcome o = scan_pieces(rows[_i].bytes, rows[_i].len, rows[_i].len + 1);
	ck_assert_msg(o.result == rows[_i].want, "%s: result %d", rows[_i].name, o.result);
	if (o.result != SCAN_REFUSED)
		ck_assert_msg(o.used == rows[_i].used, "%s: used %zu", rows[_i].name, o.used);
	ck_assert_msg(!rows[_i].why == !o.why && (!o.why || strcmp(o.why, rows[_i].why) == 0),
		      "%s: %s", rows[_i].name, o.why ? o.why : "none");
	agree(rows[_i].bytes, rows[_i].len);
}
END_TEST

START_TEST(test_depth)
{
	char deep[LIMIT_DEPTH_IN + 2];
	for (int byte = 0x81; byte <= 0x91; byte += 0x10) {
		memset(deep, byte == 0x91 ? 0x91 : 0xc0, sizeof(deep));
		struct buf b = BUF_INIT;
		for (int i = 0; i < LIMIT_DEPTH_IN; i++)
			buf_add(&b, byte == 0x91 ? "\x91" : "\x81\xa0", byte == 0x91 ? 1 : 2);
		buf_addc(&b, (char)0xc0);
		ck_assert_int_eq(scan_pieces(b.p, b.len, b.len).result, SCAN_DONE);
		agree(b.p, b.len);
		b.p[b.len - 1] = (char)0x90; /* one container more, even an empty one */
		struct outcome o = scan_pieces(b.p, b.len, b.len);
		ck_assert_int_eq(o.result, SCAN_REFUSED);
		ck_assert_str_eq(o.why, "too deep");
		agree(b.p, b.len);
		buf_done(&b);
	}
}
END_TEST

START_TEST(test_nodes)
{
	/* announced values count before they come: 16 Mi with the array itself */
	char head[5] = { (char)0xdd, 0x00, (char)0xff, (char)0xff, (char)0xff };
	ck_assert_int_eq(scan_pieces(head, 5, 5).result, SCAN_MORE);
	memcpy(head + 1, "\x01\x00\x00\x00", 4);
	ck_assert_int_eq(scan_pieces(head, 5, 5).result, SCAN_REFUSED);
	/* nested announcements add up */
	char two[10] = "\xdd\x00\x80\x00\x00\xdd\x00\x80\x00\x00";
	struct outcome o = scan_pieces(two, sizeof(two), sizeof(two));
	ck_assert_int_eq(o.result, SCAN_REFUSED);
	ck_assert_str_eq(o.why, "too many values");
}
END_TEST

START_TEST(test_max_bytes)
{
	struct scan s;
	size_t used;
	scan_init(&s);
	s.max_bytes = 4;
	ck_assert_int_eq(scan_feed(&s,
				   "\xa3"
				   "abc",
				   4, &used),
			 SCAN_DONE);
	scan_init(&s);
	s.max_bytes = 4;
	ck_assert_int_eq(scan_feed(&s, "\xa4", 1, &used), SCAN_REFUSED);
	scan_init(&s);
	s.max_bytes = 3;
	ck_assert_int_eq(scan_feed(&s, "\x94\xc0", 2, &used),
			 SCAN_REFUSED); /* each value is a byte at least */
	scan_init(&s);
	s.max_bytes = 3;
	ck_assert_int_eq(scan_feed(&s, "\x92\x01\xcd\x01", 4, &used), SCAN_REFUSED);
	ck_assert_str_eq(s.why, "too long");
	/* a head that is cut by the limit */
	scan_init(&s);
	s.max_bytes = 2;
	ck_assert_int_eq(scan_feed(&s, "\xda\x00\x00", 3, &used), SCAN_REFUSED);
}
END_TEST

/* A random value that is well formed but for what `wild` puts in. */
static void random_value(struct buf *b, int depth, bool wild)
{
	static const unsigned char heads[] = { 0xc0, 0xc2, 0xc3, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1,
					       0xd2, 0xd3, 0xca, 0xcb, 0xc4, 0xc5, 0xc6, 0xd9, 0xda,
					       0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0x85, 0x93, 0xa5, 0x7f,
					       0xe0, 0x80, 0x90, 0xa0, 0xc7, 0xd4 };
	unsigned char c = heads[rnd(sizeof(heads) - (wild ? 0 : 2))];
	const struct mp_shape *shape = &mp_shapes[c];
	uint64_t len = rnd(4);
	if (wild && rnd(40) == 0)
		c = (unsigned char)rnd(256);
	buf_addc(b, (char)c);
	shape = &mp_shapes[c];
	for (int i = shape->head - 2; i >= 0; i--)
		buf_addc(b, i == 0 ? (char)len : 0);
	if (shape->head == 1)
		len = mp_shape_len(shape, b->p + b->len - 1);
	for (int i = 0; i < shape->body; i++)
		buf_addc(b, (char)rnd(256));
	if (shape->type == MP_MAP)
		len *= 2;
	if (shape->type == MP_STR || shape->type == MP_BIN)
		for (uint64_t i = 0; i < len; i++)
			buf_addc(b, (char)rnd(256));
	else if ((shape->type == MP_MAP || shape->type == MP_ARRAY) && b->len < 4000)
		for (uint64_t i = 0; i < len; i++)
			random_value(b, depth + 1, wild);
}

START_TEST(test_structured)
{
	for (int i = 0; i < 4000; i++) {
		struct buf b = BUF_INIT;
		int wraps = (int)rnd(40);
		for (int k = 0; i % 5 == 0 && k < wraps; k++)
			buf_addc(&b, (char)0x91);
		random_value(&b, 0, i % 2);
		agree(b.p, b.len);
		agree(b.p, rnd((uint32_t)b.len + 1));
		buf_done(&b);
	}
}
END_TEST

START_TEST(test_random)
{
	for (int i = 0; i < 30000; i++) {
		char p[48];
		size_t len = 1 + rnd(sizeof(p));
		for (size_t k = 0; k < len; k++)
			p[k] = (char)rnd(256);
		if (i % 2)
			p[0] = (char)(0x80 + rnd(32));
		agree(p, len);
	}
}
END_TEST

/* Several values in a stream, each its own. */
START_TEST(test_stream)
{
	const char stream[] = "\x93\x01\x02\x03\xc0\xa2hi\x81\x01\x02";
	size_t at = 0, ends[] = { 4, 5, 8, 11 };
	for (size_t i = 0; i < 4; i++) {
		struct outcome o = scan_pieces(stream + at, sizeof(stream) - 1 - at, 2);
		ck_assert_int_eq(o.result, SCAN_DONE);
		at += o.used;
		ck_assert_uint_eq(at, ends[i]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scan");
	TCase *t = tcase_create("scan");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_rows, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, test_depth);
	tcase_add_test(t, test_nodes);
	tcase_add_test(t, test_max_bytes);
	tcase_add_test(t, test_structured);
	tcase_add_test(t, test_random);
	tcase_add_test(t, test_stream);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
