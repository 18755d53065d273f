/* Writing: counts filled in at the close for every size of head, omit_nil, and what msgpack-c makes
 * of the bytes. */
#include <check.h>
#include <math.h>
#include <msgpack.h>

#include "proto/mp.h"
#include "proto/pack.h"

static const uint32_t sizes[] = { 0, 1, 15, 16, 17, 65535, 65536, 70000 };

START_TEST(test_array_sizes)
{
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	uint32_t n = sizes[_i];
	pk_array(&pk);
	pk_int(&pk, 1000);
	pk_array(&pk);
	for (uint32_t i = 0; i < n; i++)
		pk_int(&pk, i);
	pk_end(&pk);
	pk_str(&pk, slice_str("after"));
	pk_end(&pk);
	struct mp m = mp_of(buf_slice(&b));
	ck_assert_uint_eq(mp_next(&m).count, 3);
	ck_assert_int_eq(mp_next(&m).i, 1000);
	struct mp_value inner = mp_next(&m);
	ck_assert_int_eq(inner.type, MP_ARRAY);
	ck_assert_uint_eq(inner.count, n);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(mp_next(&m).i, i);
	ck_assert(slice_is(mp_next(&m).bytes, "after"));
	ck_assert_ptr_eq(m.p, m.end);
	buf_done(&b);
}
END_TEST

START_TEST(test_map_sizes)
{
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	pk_map(&pk);
	for (uint32_t i = 0; i < sizes[_i]; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%u", i);
		pk_key(&pk, key);
		pk_map(&pk); /* a container as value does not count itself */
		pk_end(&pk);
	}
	pk_end(&pk);
	struct mp m = mp_of(buf_slice(&b));
	struct mp_value v = mp_next(&m);
	ck_assert_int_eq(v.type, MP_MAP);
	ck_assert_uint_eq(v.count, sizes[_i]);
	m = mp_of(buf_slice(&b));
	ck_assert_uint_eq(mp_skip(&m).len, b.len);
	buf_done(&b);
}
END_TEST

START_TEST(test_scalars)
{
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	static const int64_t ints[] = { 0,	   127, 128, 255, 256,	65536,	  INT64_C(1) << 32,
					INT64_MAX, -1,	-32, -33, -129, INT64_MIN };
	for (size_t i = 0; i < ARRAY_SIZE(ints); i++)
		pk_int(&pk, ints[i]);
	pk_float(&pk, 0.5);
	pk_float(&pk, NAN);
	pk_float(&pk, INFINITY);
	pk_text(&pk, slice_str("\xc3\xa4"));
	pk_text(&pk, slice_str("\xc3"));
	pk_text(&pk, SLICE_NONE);
	pk_bin(&pk, slice_str(""));
	pk_raw(&pk, slice_of("\x91\x01", 2));
	struct mp m = mp_of(buf_slice(&b));
	for (size_t i = 0; i < ARRAY_SIZE(ints); i++)
		ck_assert_int_eq(mp_next(&m).i, ints[i]);
	static const enum mp_type types[] = { MP_FLOAT, MP_NIL, MP_NIL,	  MP_STR, MP_BIN,
					      MP_NIL,	MP_BIN, MP_ARRAY, MP_INT };
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		ck_assert_int_eq(mp_next(&m).type, types[i]);
	buf_done(&b);
}
END_TEST

static void pack_keys(struct buf *b, bool omit)
{
	struct pk pk = PK_INIT(b);
	pk.omit_nil = omit;
	pk_map(&pk);
	pk_kint(&pk, "run", 7);
	pk_knil(&pk, "gone");
	pk_kstr(&pk, "name", SLICE_NONE);
	pk_kint_or_nil(&pk, "exit", 3, false);
	pk_kint_or_nil(&pk, "op", 3, true);
	pk_kraw(&pk, "raw", slice_of("\xc0", 1));
	pk_ktext(&pk, "text", slice_str("x"));
	pk_kbin(&pk, "bin", SLICE_NONE);
	pk_kbool(&pk, "yes", true);
	pk_key(&pk, "array");
	pk_array(&pk);
	pk_nil(&pk); /* a nil in an array stays */
	pk_end(&pk);
	pk_key(&pk, "last");
	pk_nil(&pk);
	pk_end(&pk);
}

START_TEST(test_omit_nil)
{
	struct buf with = BUF_INIT, without = BUF_INIT;
	pack_keys(&with, false);
	pack_keys(&without, true);
	struct mp m = mp_of(buf_slice(&with));
	ck_assert_uint_eq(mp_next(&m).count, 11);
	m = mp_of(buf_slice(&without));
	ck_assert_uint_eq(mp_next(&m).count, 5);
	for (int i = 0; i < 5; i++) {
		mp_next(&m);
		ck_assert_int_ne(mp_peek(&m), MP_NIL);
		mp_skip(&m);
	}
	ck_assert_ptr_eq(m.p, m.end);
	ck_assert_int_eq(mp_get_int(buf_slice(&without), "op", 0), 3);
	ck_assert_uint_eq(mp_find(buf_slice(&without), "array").len, 2);
	buf_done(&with);
	buf_done(&without);
}
END_TEST

/* An independent reader agrees. */
START_TEST(test_msgpack_c)
{
	struct buf b = BUF_INIT;
	pack_keys(&b, false);
	msgpack_unpacked u;
	size_t off = 0;
	msgpack_unpacked_init(&u);
	ck_assert_int_eq(msgpack_unpack_next(&u, b.p, b.len, &off), MSGPACK_UNPACK_SUCCESS);
	ck_assert_uint_eq(off, b.len);
	ck_assert_int_eq(u.data.type, MSGPACK_OBJECT_MAP);
	ck_assert_uint_eq(u.data.via.map.size, 11);
	ck_assert_uint_eq(u.data.via.map.ptr[0].val.via.u64, 7);
	msgpack_unpacked_destroy(&u);
	buf_done(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pack");
	TCase *t = tcase_create("pack");
	tcase_add_loop_test(t, test_array_sizes, 0, (int)ARRAY_SIZE(sizes));
	tcase_add_loop_test(t, test_map_sizes, 0, (int)ARRAY_SIZE(sizes));
	tcase_add_test(t, test_scalars);
	tcase_add_test(t, test_omit_nil);
	tcase_add_test(t, test_msgpack_c);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
