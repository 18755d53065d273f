/* JSON: reading strictly, numbers exactly, to MessagePack and back, text straight from MessagePack.
 */
#include "client/json.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "client/json_text.h"
#include "common/text.h"
#include "proto/limits.h"
#include "proto/pack.h"
#include "tests/unit/random_batch.h"

static void assert_printed(const json_t *v, enum json_style style, const char *should)
{
	struct buf b = BUF_INIT;
	json_print(v, style, &b);
	ck_assert_str_eq(buf_str(&b), should);
	buf_done(&b);
}

START_TEST(reads_and_prints)
{
	static const struct {
		const char *text, *printed;
	} rows[] = {
		{ "{\"a\":[1,2.5,-0.0,1e3,true,false,null,{}],\"b\":\"\"}",
		  "{\"a\": [1, 2.5, -0.0, 1000.0, true, false, null, {}], \"b\": \"\"}" },
		{ "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\\u007f\\u00e9\\ud83d\\ude00\"",
		  "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\x7f\xc3\xa9\xf0\x9f\x98\x80\"" },
		{ "9007199254740992", "9007199254740992" },
		{ "-9007199254740992", "-9007199254740992" },
		{ "0.1", "0.1" },
		{ "1e21", "1e+21" },
		{ "123456789012345680000.0", "123456789012345680000.0" },
		{ "0.000001", "0.000001" },
		{ "0.0000001", "1e-7" },
		{ "5e-324", "5e-324" },
		{ "1.7976931348623157e308", "1.7976931348623157e+308" },
		{ "[]", "[]" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *v;
		struct err e = ERR_INIT;
		ck_assert_msg(json_read(slice_str(rows[i].text), "f", &v, &e) == 0, "%s", e.text);
		assert_printed(v, JSON_LINE, rows[i].printed);
		json_decref(v);
	}
}
END_TEST

START_TEST(pretty)
{
	json_t *v;
	struct err e = ERR_INIT;
	ck_assert_int_eq(json_read(slice_str("{\"a\":[1,{\"b\":[]}],\"c\":{}}"), "f", &v, &e), 0);
	assert_printed(
		v, JSON_PRETTY,
		"{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}");
	json_decref(v);
}
END_TEST

START_TEST(refuses)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ "", "f:1:1:" },
		{ "{\"a\":1,\"a\":2}", "f:1:" },
		{ "[1] x", "f:1:" },
		{ "[NaN]", "f:1:" },
		{ "[Infinity]", "f:1:" },
		{ "[1e999]", "f:1:" },
		{ "[9007199254740993]", "2^53" },
		{ "[-9007199254740993]", "2^53" },
		{ "{\"a\":[99999999999999999999]}", "f:1:" },
		{ "\"\xff\"", "f:1:" },
		{ "[\n\"\xc3\xa9\",]", "f:2:5:" },
		{ "{\"a\\u0000b\":1}", "f:1:" },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "f:1:33: nested more than 32 deep" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *v;
		struct err e = ERR_INIT;
		ck_assert_msg(json_read(slice_str(rows[i].text), "f", &v, &e) != 0, "%s",
			      rows[i].text);
		ck_assert_msg(strstr(e.text, rows[i].error), "%s: %s", rows[i].text, e.text);
	}
}
END_TEST

/* Brackets inside of strings nest nothing. */
START_TEST(depth)
{
	static const char text[] = "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[\"]";
	json_t *v;
	struct err e = ERR_INIT;
	ck_assert_msg(json_read(slice_str(text), "f", &v, &e) == 0, "%s", e.text);
	json_decref(v);
	ck_assert_int_eq(
		json_read(
			slice_str(
				"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
			"f", &v, &e),
		0);
	json_decref(v);
}
END_TEST

START_TEST(base64)
{
	static const struct {
		const char *bytes, *text;
	} rows[] = { { "", "" },	{ "f", "Zg==" },	{ "fo", "Zm8=" },
		     { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "\xff\xfe\xfd", "//79" } };
	static const char *const bad[] = { "Z",	   "Zg=",    "Zg===", "Z===", "Zh==", "Zm9=",
					   "Zm 9", "Zm9v\n", "Zm-v",  "====", "=" };
	struct buf b = BUF_INIT;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		buf_clear(&b);
		base64_encode(slice_str(rows[i].bytes), &b);
		ck_assert_str_eq(buf_str(&b), rows[i].text);
		buf_clear(&b);
		ck_assert(base64_decode(slice_str(rows[i].text), &b));
		ck_assert_str_eq(buf_str(&b), rows[i].bytes);
	}
	buf_clear(&b);
	ck_assert(base64_decode(slice_str("Zm8"), &b));
	ck_assert_str_eq(buf_str(&b), "fo");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_msg(!base64_decode(slice_str(bad[i]), &b), "%s", bad[i]);
		ck_assert_uint_eq(b.len, 2);
	}
	buf_done(&b);
}
END_TEST

static json_t *roundtrip(const json_t *v, struct buf *packed)
{
	struct err e = ERR_INIT;
	json_t *back = NULL;
	buf_clear(packed);
	ck_assert_msg(json_to_mp(v, packed, &e) == 0, "%s", e.text);
	ck_assert_msg(json_from_mp(buf_slice(packed), &back, &e) == 0, "%s", e.text);
	return back;
}

/* json_t to MessagePack and back; and text from MessagePack is the text json_t gives. */
START_TEST(msgpack)
{
	struct buf packed = BUF_INIT, a = BUF_INIT, b = BUF_INIT;
	for (uint64_t seed = 0; seed < 500; seed++) {
		json_t *v = rnd_batch(seed), *back = roundtrip(v, &packed);
		ck_assert_msg(json_equal(v, back), "seed %d", (int)seed);
		for (int style = JSON_LINE; style <= JSON_PRETTY; style++) {
			buf_clear(&a);
			buf_clear(&b);
			json_print(v, (enum json_style)style, &a);
			json_print_mp(buf_slice(&packed), (enum json_style)style, &b);
			/* {"$bin": ...} is written on one line from MessagePack. */
			if (style == JSON_LINE || !strstr(buf_str(&a), "$bin"))
				ck_assert_str_eq(buf_str(&a), buf_str(&b));
		}
		json_decref(v);
		json_decref(back);
	}
	buf_done(&packed);
	buf_done(&a);
	buf_done(&b);
}
END_TEST

START_TEST(bin)
{
	struct buf packed = BUF_INIT, text = BUF_INIT;
	json_t *v = json_pack("{s:{s:s}}", "a", "$bin", "/wA=");
	json_t *back = roundtrip(v, &packed);
	/* fixmap 1, "a", bin8 of two bytes */
	ck_assert_mem_eq(packed.p,
			 "\x81\xa1"
			 "a\xc4\x02\xff\x00",
			 7);
	ck_assert(json_equal(v, back));
	json_decref(back);
	json_decref(v);
	/* Bytes that are UTF-8 are shown as text, whether they came as str or as bin; a bad key
	 * does not break the line. */
	struct pk pk = PK_INIT(&packed);
	buf_clear(&packed);
	pk_map(&pk);
	pk_keyslice(&pk, slice_of("k\xff", 2));
	pk_bin(&pk, slice_str("text"));
	pk_key(&pk, "s");
	pk_str(&pk, slice_of("\xff", 1));
	pk_end(&pk);
	json_print_mp(buf_slice(&packed), JSON_LINE, &text);
	ck_assert_str_eq(buf_str(&text),
			 "{\"k\xef\xbf\xbd\": \"text\", \"s\": {\"$bin\": \"/w==\"}}");
	buf_done(&packed);
	buf_done(&text);
}
END_TEST

START_TEST(to_mp_refuses)
{
	struct buf packed = BUF_INIT;
	struct err e = ERR_INIT;
	json_t *v = json_pack("{s:[i,{s:{s:s}}]}", "ops", 1, "content", "$bin", "?");
	ck_assert_int_ne(json_to_mp(v, &packed, &e), 0);
	ck_assert_str_eq(e.text, "ops[1].content: $bin is not base64");
	json_decref(v);
	v = json_pack("[I]", (json_int_t)LIMIT_INT + 1);
	ck_assert_int_ne(json_to_mp(v, &packed, &e), 0);
	ck_assert_str_eq(e.text, "[0]: integers lie within +-2^53");
	json_decref(v);
	buf_done(&packed);
}
END_TEST

/* Every double reads back as itself, and is not longer than it must be. */
START_TEST(reals)
{
	struct rnd r = { .state = 42 };
	for (int i = 0; i < 200000; i++) {
		uint64_t bits =
			(uint64_t)rnd_next(&r) << 33 ^ (uint64_t)rnd_next(&r) << 10 ^ rnd_next(&r);
		double v;
		struct buf b = BUF_INIT;
		memcpy(&v, &bits, sizeof(v));
		if (!isfinite(v))
			continue;
		json_print_real(v, &b);
		double back = strtod(buf_str(&b), NULL);
		ck_assert_msg(memcmp(&back, &v, sizeof(v)) == 0, "%.17g as %s", v, buf_str(&b));
		ck_assert(b.len <= 26);
		buf_done(&b);
	}
}
END_TEST

START_TEST(js_numbers)
{
	static const struct {
		double v;
		const char *text;
	} rows[] = {
		{ 1, "1" },
		{ -0.0, "0" },
		{ 0.5, "0.5" },
		{ -1.25, "-1.25" },
		{ 100, "100" },
		{ 123.456, "123.456" },
		{ 1e20, "100000000000000000000" },
		{ 1e21, "1e+21" },
		{ 1.5e21, "1.5e+21" },
		{ 1e-6, "0.000001" },
		{ 1.5e-6, "0.0000015" },
		{ 1e-7, "1e-7" },
		{ 1.25e-9, "1.25e-9" },
		{ DBL_MAX, "1.7976931348623157e+308" },
		{ 0.1 + 0.2, "0.30000000000000004" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf b = BUF_INIT;
		json_print_js_number(rows[i].v, &b);
		ck_assert_str_eq(buf_str(&b), rows[i].text);
		buf_done(&b);
	}
}
END_TEST

/* What is taken straight is packed as by way of the tree; what is not, wrong or only rare, leaves
 * nothing behind. */
START_TEST(straight)
{
	static const struct {
		const char *text;
		bool taken;
	} rows[] = {
		{ " {\"a\" : [1,-0,true , false,null,{},[],\"\"] }\r\n", true },
		{ "\"\\u0000\\b\\f\\n\\r\\t\\\"\\\\\\/\\u00e9\\uD83D\\ude00\xc3\xa9\"", true },
		{ "[9007199254740992,-9007199254740992]", true },
		{ "{\"x\":{\"$bin\":\"/wA=\"},\"y\":[{ \"$bin\" : \"\" }]}", true },
		{ "{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":1}]}", true },
		{ "9007199254740993", false },
		{ "99999999999999999999", false },
		{ "1.0", false },
		{ "1e3", false },
		{ "01", false },
		{ "-", false },
		{ "{\"a\":1,\"a\":2}", false },
		{ "{\"a\":null,\"b\":1,\"a\":2}", false },
		{ "{\"\\u0061\":1}", false },
		{ "{\"$bin\":\"/w\",\"a\":1}", false },
		{ "{\"$bin\":\"?\"}", false },
		{ "{\"$bin\":1}", false },
		{ "[1] x", false },
		{ "[1,]", false },
		{ "{\"a\":1,}", false },
		{ "[1 2]", false },
		{ "{\"a\" 1}", false },
		{ "nul", false },
		{ "truex", false },
		{ "\"\\ud800\"", false },
		{ "\"\\udc00\"", false },
		{ "\"\\ud800\\u0041\"", false },
		{ "\"\\x41\"", false },
		{ "\"\\u00g0\"", false },
		{ "\"\xff\"", false },
		{ "\"\xed\xa0\x80\"", false },
		{ "\"\x01\"", false },
		{ "\"a", false },
		{ "\"a\\", false },
		{ "\"a\\\"", false },
		{ "", false },
		{ "  ", false },
		{ "[", false },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf b = BUF_INIT, tree = BUF_INIT;
		struct pk pk = PK_INIT(&b);
		struct err e = ERR_INIT;
		json_t *v;
		ck_assert_msg(json_text_value(slice_str(rows[i].text), &pk) == rows[i].taken, "%s",
			      rows[i].text);
		if (!rows[i].taken) {
			ck_assert_uint_eq(b.len + pk.depth, 0);
			buf_done(&b);
			continue;
		}
		ck_assert_int_eq(json_read(slice_str(rows[i].text), "f", &v, &e), 0);
		ck_assert_int_eq(json_to_mp(v, &tree, &e), 0);
		ck_assert_msg(slice_eq(buf_slice(&b), buf_slice(&tree)), "%s", rows[i].text);
		json_decref(v);
		buf_done(&b);
		buf_done(&tree);
	}
}
END_TEST

/* Each byte at each place. */
START_TEST(straight_bytes)
{
	for (int c = 0; c < 256; c++) {
		for (size_t at = 1; at <= 17; at++) {
			char text[] = "\"aaaaaaaaaaaaaaaaaaaa\"";
			struct buf b = BUF_INIT;
			struct pk pk = PK_INIT(&b);
			text[at] = (char)c;
			bool good = json_text_value(slice_of(text, sizeof(text) - 1), &pk);
			bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
			ck_assert_msg(good == plain, "%d at %zu", c, at);
			ck_assert(!good || (b.len == 21 && memcmp(b.p + 1, text + 1, 20) == 0));
			buf_done(&b);
		}
	}
}
END_TEST

START_TEST(straight_depth)
{
	for (int n = LIMIT_DEPTH_IN - 1; n <= LIMIT_DEPTH_IN + 1; n++) {
		struct buf text = BUF_INIT, b = BUF_INIT;
		struct pk pk = PK_INIT(&b);
		for (int i = 0; i < n; i++)
			buf_addc(&text, '[');
		for (int i = 0; i < n; i++)
			buf_addc(&text, ']');
		ck_assert(json_text_value(buf_slice(&text), &pk) == (n <= LIMIT_DEPTH_IN));
		buf_done(&text);
		buf_done(&b);
	}
}
END_TEST

/* More keys than are remembered go by way of the tree, in whichever maps they are. */
START_TEST(straight_keys)
{
	for (int n = 250; n < 260; n++) {
		struct buf text = BUF_INIT, b = BUF_INIT;
		struct pk pk = PK_INIT(&b);
		for (int i = 0; i < n; i++)
			buf_addf(&text, "%s\"k%d\":%d", i ? "," : "{\"outer\":{", i, i);
		buf_adds(&text, "}}");
		ck_assert(json_text_value(buf_slice(&text), &pk) == (n + 1 <= 256));
		buf_done(&text);
		buf_done(&b);
	}
}
END_TEST

/* Nulls are dropped where they mean absent, and only there. */
START_TEST(straight_batch)
{
	static const struct {
		const char *text, *packed; /* NULL: not taken */
	} rows[] = {
		{ "{\"name\":null,\"env\":{\"A\":null},\"messages\":[{\"halt\":null,\"ops\":[null,"
		  "{\"id\":null,\"env\":{\"B\":null},\"kind\":\"read\"}]}],\"key\":null}",
		  "{\"env\": {\"A\": null}, \"messages\": [{\"ops\": [null, "
		  "{\"env\": {\"B\": null}, \"kind\": \"read\"}]}]}" },
		{ "{\"messages\":{\"ops\":null}}", "{\"messages\": {\"ops\": null}}" },
		{ "{\"messages\":[{\"ops\":{\"id\":null}}]}",
		  "{\"messages\": [{\"ops\": {\"id\": null}}]}" },
		{ "{\"meta\":[{\"ops\":null}],\"messages\":1}",
		  "{\"meta\": [{\"ops\": null}], \"messages\": 1}" },
		{ "{\"messages\":[{\"ops\":[{\"kind\":\"todos\",\"todos\":[]}]}]}", NULL },
		{ "{\"messages\":null}", NULL },
		{ "{\"input\":{}}", NULL },
		{ "{\"messages\":[]} x", NULL },
		{ "[]", NULL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf b = BUF_INIT, text = BUF_INIT;
		struct pk pk = PK_INIT(&b);
		pk_map(&pk);
		ck_assert_msg(json_text_batch(slice_str(rows[i].text), &pk) == !!rows[i].packed,
			      "%s", rows[i].text);
		pk_end(&pk);
		json_print_mp(buf_slice(&b), JSON_LINE, &text);
		ck_assert_str_eq(buf_str(&text), rows[i].packed ? rows[i].packed : "{}");
		buf_done(&b);
		buf_done(&text);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("json");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	tcase_add_test(tc, reads_and_prints);
	tcase_add_test(tc, pretty);
	tcase_add_test(tc, refuses);
	tcase_add_test(tc, depth);
	tcase_add_test(tc, base64);
	tcase_add_test(tc, msgpack);
	tcase_add_test(tc, bin);
	tcase_add_test(tc, to_mp_refuses);
	tcase_add_test(tc, reals);
	tcase_add_test(tc, js_numbers);
	tcase_add_test(tc, straight);
	tcase_add_test(tc, straight_bytes);
	tcase_add_test(tc, straight_depth);
	tcase_add_test(tc, straight_keys);
	tcase_add_test(tc, straight_batch);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
