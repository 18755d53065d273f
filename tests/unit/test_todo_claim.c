/* Who works on an item: ready, claim, leases, and ops that drive items. Then a random walk over all
 * of it. */
#include "todo_world.h"

/* --- ready, claim, release --- */

START_TEST(ready_is_in_the_order_to_take)
{
	ck_assert_int_eq(
		replace("[{'id':'a','content':'A','priority':'low'},{'id':'b','content':'B'},"
			"{'id':'c','content':'C','blocked_by':['b','a']},{'id':'d','content':'D','"
			"priority':'high'},"
			"{'id':'e','content':'E','priority':'high','error':'boom'},{'id':'f','"
			"content':'F','status':'cancelled'},"
			"{'id':'g','content':'G','blocked_by':['f']}]"),
		0);
	ck_assert_str_eq(show_ready(), "d:D:p b:B:p a:A:p e:E:p ");
	ck_assert_int_eq(update("b", "{'id':'b','status':'completed'}"), 0);
	ck_assert_str_eq(show_ready(), "d:D:p a:A:p e:E:p ");
	/* A blocker that is removed blocks no more. */
	ck_assert_int_eq(remove_item("a"), 0);
	ck_assert_str_eq(show_ready(), "d:D:p c:C:p e:E:p ");
	/* ... and may stay named. */
	ck_assert_int_eq(update("c", "{'id':'c','blocked_by':['a','b'],'content':'C2'}"), 0);
}
END_TEST

START_TEST(filters)
{
	struct todo_filter f = { .status_mask = 1u << TODO_COMPLETED | 1u << TODO_IN_PROGRESS };

	ck_assert_int_eq(replace("[{'id':'a','content':'A','status':'completed'},{'id':'b','"
				 "content':'B','owner':'eve'},"
				 "{'id':'c','content':'C','status':'in_progress'}]"),
			 0);
	ck_assert_str_eq(show_filter(&f), "a:A:c c:C:i ");
	f = (struct todo_filter){ .owner = slice_str("eve") };
	ck_assert_str_eq(show_filter(&f), "b:B:p ");
	f = (struct todo_filter){ .owner = slice_str("ev") };
	ck_assert_str_eq(show_filter(&f), "");
}
END_TEST

START_TEST(claim_takes_the_first_ready)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'},{'id':'b','content':'B','priority':'"
				 "high'},{'id':'c','content':'C','owner':'zoe',"
				 "'priority':'high'}]"),
			 0);
	ck_assert_int_eq(claim(NULL, "eve"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "b:B:i ");
	ck_assert_str_eq(row("b")->owner, "eve");
	ck_assert_int_eq(row("b")->started, 1000);
	ck_assert_int_eq(claim(NULL, "bob"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "a:A:i ");
	ck_assert_int_eq(claim(NULL, "bob"), 0);
	ck_assert_msg(change.nothing && change.rev == 3, "nothing is ready for bob");
	ck_assert_int_eq(claim(NULL, "zoe"), 0);
	ck_assert_str_eq(show_array(buf_slice(&change.todos)), "c:C:i ");
}
END_TEST

START_TEST(claim_by_id)
{
	ck_assert_int_eq(
		replace("[{'id':'a','content':'A'},{'id':'b','content':'B','blocked_by':['a']},"
			"{'id':'c','content':'C','status':'completed'},{'id':'d','content':'D','"
			"status':'in_progress'}]"),
		0);
	ck_assert_int_eq(claim("a", "eve"), 0);
	expect_err(claim("a", "bob"), E_CONFLICT, "item 'a' is taken by 'eve'");
	ck_assert_int_eq(claim("a", "eve"), 0);
	expect_err(claim("b", "bob"), E_STATE, "item 'b' is blocked by 'a', which is in_progress");
	expect_err(claim("c", "bob"), E_STATE, "item 'c' is completed");
	expect_err(claim("d", "bob"), E_CONFLICT, "item 'd' is taken");
	expect_err(claim("x", "bob"), E_NOT_FOUND, "no item 'x'");
	ck_assert_int_eq(todos_rev(lists, "l"), 3);
}
END_TEST

START_TEST(a_lease_ends)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'}]"), 0);
	ck_assert_int_eq(claim_lease("a", "eve", 500), 0);
	ck_assert_int_eq(row("a")->lease_until, 1500);
	now = 1499;
	expect_err(claim("a", "bob"), E_CONFLICT, "'eve'");
	ck_assert_int_eq(claim_lease("a", "eve", 500), 0);
	now = 1998;
	expect_err(claim("a", "bob"), E_CONFLICT, "'eve'");
	now = 1999;
	ck_assert_int_eq(claim(NULL, "bob"), 0);
	ck_assert(!change.nothing);
	ck_assert_str_eq(row("a")->owner, "bob");
	ck_assert_int_eq(row("a")->lease_until, 0);
	ck_assert_int_eq(row("a")->started, 1999);
	ck_assert_int_eq(claim(NULL, "eve"), 0);
	ck_assert(change.nothing);
}
END_TEST

START_TEST(release_gives_back)
{
	ck_assert_int_eq(
		replace("[{'id':'a','content':'A'},{'id':'c','content':'C','status':'completed'}]"),
		0);
	expect_err(release("a", NULL), E_STATE, "nobody holds item 'a'");
	ck_assert_int_eq(claim_lease("a", "eve", 500), 0);
	expect_err(release("a", "bob"), E_CONFLICT, "taken by 'eve', not by 'bob'");
	ck_assert_int_eq(release("a", "eve"), 0);
	ck_assert_str_eq(show_ready(), "a:A:p ");
	ck_assert_ptr_null(row("a")->owner);
	ck_assert_int_eq(row("a")->lease_until, 0);
	ck_assert_int_eq(claim("a", "bob"), 0);
	ck_assert_int_eq(release("a", NULL), 0);
	expect_err(release("c", NULL), E_STATE, "is completed");
}
END_TEST

START_TEST(warnings_name_who_does_too_much)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A','status':'in_progress','owner':'eve'},"
				 "{'id':'b','content':'B','status':'in_progress','owner':'bob'},{'"
				 "id':'c','content':'C'}]"),
			 0);
	ck_assert_uint_eq(change.warnings.len, 1);
	ck_assert_int_eq(claim("c", "eve"), 0);
	ck_assert_ptr_nonnull(memmem(change.warnings.p, change.warnings.len,
				     "2 items of 'eve' are in_progress: 'a', 'c'", 42));
	ck_assert_int_eq(update("b", "{'id':'b','priority':'low'}"), 0);
	ck_assert_uint_eq(change.warnings.len, 1);
	ck_assert_int_eq(merge("[{'content':'x','status':'in_progress'},{'content':'y','status':'"
			       "in_progress'}]"),
			 0);
	ck_assert_ptr_nonnull(memmem(change.warnings.p, change.warnings.len,
				     "2 items without owner are in_progress", 37));
}
END_TEST

/* --- ops --- */

START_TEST(an_op_moves_its_item)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'}]"), 0);
	now = 2000;
	ck_assert(op_started(7, "a"));
	ck_assert_str_eq(show(), "a:A:i ");
	ck_assert_uint_eq(row("a")->run, 7);
	ck_assert_int_eq(row("a")->started, 2000);
	ck_assert_msg(!op_started(7, "a"), "a second op of the run finds it moved");
	ck_assert(op_ended(7, "a", NULL));
	ck_assert_str_eq(show(), "a:A:c ");
	ck_assert(!op_ended(7, "a", NULL));
	ck_assert_msg(op_started(8, "a"), "another run starts it over");
	ck_assert(op_ended(8, "a", "make: exit 2"));
	ck_assert_str_eq(show(), "a:A:p ");
	ck_assert_str_eq(row("a")->error, "make: exit 2");
	ck_assert_msg(!op_ended(8, "a", "later"), "the first error stays");
	ck_assert(op_started(9, "a"));
	ck_assert_ptr_null(row("a")->error);
	ck_assert(!op_started(9, "no such item"));
	ck_assert(!op_ended(9, "no such item", NULL));
}
END_TEST

START_TEST(an_op_takes_over_what_is_in_progress)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A','status':'in_progress'}]"), 0);
	ck_assert(op_started(7, "a"));
	ck_assert(op_ended(7, "a", NULL));
	ck_assert_str_eq(show(), "a:A:c ");
}
END_TEST

START_TEST(an_op_leaves_what_others_changed)
{
	ck_assert_int_eq(replace("[{'id':'a','content':'A'},{'id':'b','content':'B'}]"), 0);
	ck_assert(op_started(7, "a"));
	ck_assert_int_eq(update("a", "{'id':'a','status':'cancelled'}"), 0);
	ck_assert_uint_eq(row("a")->run, 0);
	ck_assert(!op_ended(7, "a", NULL));
	ck_assert(!op_started(7, "a"));
	ck_assert(!op_ended(7, "a", "x"));
	ck_assert_int_eq(row("a")->status, TODO_CANCELLED);
	ck_assert(op_started(8, "b"));
	ck_assert_int_eq(update("b", "{'id':'b','content':'B2'}"), 0);
	ck_assert_msg(!op_ended(8, "b", NULL), "also when he changed something else");
	ck_assert_msg(!op_ended(8, "b", "x"), "the same on failure");
	/* Writing the list again as it is changes nothing, so it is nobody's change. */
	ck_assert(op_started(7, "b"));
	ck_assert_int_eq(replace("[{'id':'a'},{'id':'b'}]"), 0);
	ck_assert(op_ended(7, "b", NULL));
	ck_assert_int_eq(row("b")->status, TODO_COMPLETED);
}
END_TEST

START_TEST(driving_survives_a_restart)
{
	struct todo_row copy;
	_cleanup_buf_ struct buf b = BUF_INIT, strings = BUF_INIT;
	struct pk pk = PK_INIT(&b);

	ck_assert_int_eq(replace("[{'id':'a','content':'A'}]"), 0);
	ck_assert(op_started(7, "a"));
	todo_pack(&pk, row("a"));
	todo_unpack(buf_slice(&b), &strings, &copy);
	copy.list = "l";
	todos_list_reset(lists, "l");
	ck_assert_int_eq(todos_rev(lists, "l"), 0);
	ck_assert(!todos_has(lists, "l", slice_str("a")));
	todos_load_rev(lists, "l", 2);
	todos_load(lists, &copy);
	ck_assert(op_ended(7, "a", NULL));
	ck_assert_int_eq(change.rev, 3);
}
END_TEST

/* --- properties: random writes against the rules that always hold --- */

static unsigned seed;

static unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void random_items(struct buf *b)
{
	static const char *const states[] = { "", ",'status':'pending'", ",'status':'in_progress'",
					      ",'status':'completed'" };

	buf_addc(b, '[');
	for (unsigned n = rnd(6); n > 0; n--) {
		buf_adds(b, "{");
		if (rnd(2))
			buf_addf(b, "'id':'i%u',", rnd(8));
		buf_addf(b, "'content':'c%u'%s", rnd(4), states[rnd(4)]);
		if (rnd(3) == 0)
			buf_addf(b, ",'blocked_by':['i%u']", rnd(8));
		buf_adds(b, "},");
	}
	buf_addc(b, ']');
}

/* One list item by item, as the events tell it. */
static void apply_event(struct buf *shadow)
{
	_cleanup_buf_ struct buf next = BUF_INIT;
	struct pk pk = PK_INIT(&next);
	struct slice sides[] = { buf_slice(&change.before), buf_slice(&change.after) };
	struct mp m = mp_of(buf_slice(shadow)), a;
	struct mp_value head = mp_next(&m), v;

	pk_array(&pk);
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice item = mp_skip(&m);
		bool dropped = false;

		for (size_t k = 0; k < 2; k++) {
			a = mp_of(sides[k]);
			v = mp_next(&a);
			for (uint32_t j = 0; j < v.count; j++)
				dropped |= slice_eq(mp_get_str(mp_skip(&a), "id"),
						    mp_get_str(item, "id"));
		}
		if (!dropped)
			pk_raw(&pk, item);
	}
	a = mp_of(sides[1]);
	v = mp_next(&a);
	for (uint32_t j = 0; j < v.count; j++)
		pk_raw(&pk, mp_skip(&a));
	pk_end(&pk);
	buf_clear(shadow);
	buf_addslice(shadow, buf_slice(&next));
}

static void check_same(const struct buf *shadow)
{
	struct mp m = mp_of(buf_slice(shadow));
	struct mp_value head = mp_next(&m);
	struct todo_filter all = TODO_FILTER_ALL;
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	struct mp real;

	todos_pack(lists, "l", &all, &pk);
	real = mp_of(buf_slice(&b));
	ck_assert_uint_eq(mp_next(&real).count, head.count);
	for (uint32_t i = 0; i < head.count; i++) {
		_cleanup_buf_ struct buf one = BUF_INIT;
		struct slice item = mp_skip(&m);
		struct pk pk1 = PK_INIT(&one);
		const struct todo_row *r = todos_get(lists, "l", mp_get_str(item, "id"));

		ck_assert_ptr_nonnull(r);
		todo_pack(&pk1, r);
		ck_assert_msg(slice_eq(buf_slice(&one), item),
			      "item '%s' is not what the events say", r->id);
	}
}

START_TEST(events_tell_the_whole_truth)
{
	_cleanup_buf_ struct buf shadow = BUF_INIT;
	struct pk pk = PK_INIT(&shadow);
	int taken = 0;

	seed = (unsigned)_i + 1;
	pk_array(&pk);
	pk_end(&pk);
	for (int step = 0; step < 300; step++) {
		_cleanup_buf_ struct buf items = BUF_INIT;
		static const char *const sources[] = { "a", "b", "*" };
		char id[8];
		int r;

		now++;
		snprintf(id, sizeof(id), "i%u", rnd(8));
		random_items(&items);
		switch (rnd(8)) {
		case 0:
			r = merge(buf_str(&items));
			break;
		case 1:
			r = remove_item(id);
			break;
		case 2:
			r = claim_lease(rnd(2) ? id : NULL, rnd(2) ? "eve" : "bob", rnd(10)) ||
			    change.nothing;
			break;
		case 3:
			r = release(id, NULL);
			break;
		case 4:
			r = !op_started(1 + rnd(3), id);
			break;
		case 5:
			r = !op_ended(1 + rnd(3), id, rnd(2) ? "bad" : NULL);
			break;
		default:
			r = replace_by(sources[rnd(3)], buf_str(&items));
		}
		if (r)
			continue;
		taken++;
		apply_event(&shadow);
		check_same(&shadow);
	}
	ck_assert_int_gt(taken, 50);
}
END_TEST

static void fill(TCase *t)
{
	tcase_add_test(t, ready_is_in_the_order_to_take);
	tcase_add_test(t, filters);
	tcase_add_test(t, claim_takes_the_first_ready);
	tcase_add_test(t, claim_by_id);
	tcase_add_test(t, a_lease_ends);
	tcase_add_test(t, release_gives_back);
	tcase_add_test(t, warnings_name_who_does_too_much);
	tcase_add_test(t, an_op_moves_its_item);
	tcase_add_test(t, an_op_takes_over_what_is_in_progress);
	tcase_add_test(t, an_op_leaves_what_others_changed);
	tcase_add_test(t, driving_survives_a_restart);
	tcase_add_loop_test(t, events_tell_the_whole_truth, 0, 20);
}

int main(void)
{
	return todo_run_suite("todo_claim", fill);
}
