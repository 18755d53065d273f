/* The whole table of opfsm.c, cell by cell, against the rules that hold for any op. */
#include <check.h>
#include <stdlib.h>

#include "daemon/engine/opfsm.h"

START_TEST(terminal_phases_have_no_way_out)
{
	for (int phase = PHASE_SUCCEEDED; phase < PHASE_MAX; phase++)
		for (int input = 0; input < INPUT_MAX; input++)
			ck_assert_msg(!opfsm_step(phase, input).legal, "phase %d input %d", phase,
				      input);
}
END_TEST

START_TEST(every_other_phase_can_end)
{
	for (int phase = 0; phase < PHASE_SUCCEEDED; phase++) {
		bool ends = false;
		for (int input = 0; input < INPUT_MAX; input++) {
			struct op_step s = opfsm_step(phase, input);
			ends = ends || (s.legal && op_phase_ended(s.next));
		}
		ck_assert_msg(ends, "phase %d", phase);
	}
}
END_TEST

START_TEST(an_ended_phase_is_entered_with_end_and_only_so)
{
	for (int phase = 0; phase < PHASE_MAX; phase++)
		for (int input = 0; input < INPUT_MAX; input++) {
			struct op_step s = opfsm_step(phase, input);
			bool end = s.effect == DO_END || s.effect == DO_UNQUEUE;
			if (s.legal)
				ck_assert_msg(end == op_phase_ended(s.next), "phase %d input %d",
					      phase, input);
		}
}
END_TEST

START_TEST(succeeded_needs_a_good_end)
{
	for (int phase = 0; phase < PHASE_MAX; phase++)
		for (int input = 0; input < INPUT_MAX; input++)
			if (opfsm_step(phase, input).legal &&
			    opfsm_step(phase, input).next == PHASE_SUCCEEDED)
				ck_assert_int_eq(input, INPUT_GOOD);
}
END_TEST

START_TEST(only_ready_starts_and_only_by_a_slot)
{
	for (int phase = 0; phase < PHASE_MAX; phase++)
		for (int input = 0; input < INPUT_MAX; input++)
			if (opfsm_step(phase, input).effect == DO_START) {
				ck_assert_int_eq(phase, PHASE_READY);
				ck_assert_int_eq(input, INPUT_SLOT);
			}
}
END_TEST

static const struct {
	const char *name;
	enum op_input inputs[8];
	size_t n;
	enum op_phase end;
} lives[] = {
	{ "plain", { INPUT_MET, INPUT_SLOT, INPUT_STARTED, INPUT_GOOD }, 4, PHASE_SUCCEEDED },
	{ "fails", { INPUT_MET, INPUT_SLOT, INPUT_STARTED, INPUT_BAD }, 4, PHASE_FAILED },
	{ "never started", { INPUT_MET, INPUT_SLOT, INPUT_BAD }, 3, PHASE_FAILED },
	{ "dependency failed", { INPUT_SKIP }, 1, PHASE_SKIPPED },
	{ "cancelled while waiting", { INPUT_CANCEL }, 1, PHASE_CANCELLED },
	{ "cancelled while running",
	  { INPUT_MET, INPUT_SLOT, INPUT_STARTED, INPUT_CANCEL, INPUT_STOPPED },
	  5,
	  PHASE_CANCELLED },
	{ "timed out",
	  { INPUT_MET, INPUT_SLOT, INPUT_STARTED, INPUT_TIMEOUT, INPUT_BAD },
	  5,
	  PHASE_FAILED },
	{ "timed out before its turn", { INPUT_MET, INPUT_TIMEOUT }, 2, PHASE_SKIPPED },
	{ "busy, then fine",
	  { INPUT_MET, INPUT_SLOT, INPUT_BUSY, INPUT_SLOT, INPUT_STARTED, INPUT_GOOD },
	  6,
	  PHASE_SUCCEEDED },
	{ "retried",
	  { INPUT_MET, INPUT_SLOT, INPUT_STARTED, INPUT_BAD_RETRY, INPUT_DUE, INPUT_SLOT,
	    INPUT_STARTED, INPUT_GOOD },
	  8,
	  PHASE_SUCCEEDED },
	{ "lost", { INPUT_MET, INPUT_SLOT, INPUT_STARTED, INPUT_LOST }, 4, PHASE_INTERRUPTED },
	{ "a late cancel means nothing",
	  { INPUT_MET, INPUT_SLOT, INPUT_STARTED, INPUT_GOOD, INPUT_CANCEL },
	  5,
	  PHASE_SUCCEEDED },
};

START_TEST(a_life)
{
	enum op_phase phase = PHASE_WAITING;
	for (size_t i = 0; i < lives[_i].n; i++) {
		struct op_step s = opfsm_step(phase, lives[_i].inputs[i]);
		if (s.legal)
			phase = s.next;
	}
	ck_assert_msg(phase == lives[_i].end, "%s: phase %d", lives[_i].name, phase);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("opfsm");
	TCase *t = tcase_create("table");
	tcase_add_test(t, terminal_phases_have_no_way_out);
	tcase_add_test(t, every_other_phase_can_end);
	tcase_add_test(t, an_ended_phase_is_entered_with_end_and_only_so);
	tcase_add_test(t, succeeded_needs_a_good_end);
	tcase_add_test(t, only_ready_starts_and_only_by_a_slot);
	tcase_add_loop_test(t, a_life, 0, sizeof(lives) / sizeof(lives[0]));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
