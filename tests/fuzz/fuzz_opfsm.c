/* The life of an op: each byte is an input. Whatever comes in whatever order, the effects add up to
 * a life: queued before started, started once a try, ended once and for ever. */
#include "common/cleanup.h"
#include "daemon/engine/opfsm.h"
#include "tests/fuzz/fuzz.h"

struct life {
	enum op_phase phase;
	bool queued, started; /* in the ready queue; with the executor */
	unsigned ends;
	enum op_input last;
};

static void life_effect(struct life *l, enum op_effect effect)
{
	switch (effect) {
	case DO_NOTHING:
		break;
	case DO_QUEUE:
		HOLDS(!l->queued);
		l->queued = true;
		l->started = false; /* INPUT_BUSY: not taken */
		break;
	case DO_START:
		HOLDS(l->queued && !l->started);
		l->queued = false;
		l->started = true;
		break;
	case DO_BACKOFF:
		HOLDS(l->started);
		l->started = false;
		break;
	case DO_STOP:
		HOLDS(l->started);
		break;
	case DO_UNQUEUE:
		HOLDS(l->queued);
		l->queued = false;
		l->ends++;
		break;
	case DO_END:
		HOLDS(!l->queued);
		l->started = false;
		l->ends++;
		break;
	}
}

static void life_check(const struct life *l)
{
	HOLDS(l->ends == op_phase_ended(l->phase));
	HOLDS(l->queued == (l->phase == PHASE_READY));
	HOLDS(l->started == (l->phase == PHASE_STARTING || l->phase == PHASE_RUNNING ||
			     l->phase == PHASE_STOPPING));
	HOLDS(l->phase != PHASE_SUCCEEDED || l->last == INPUT_GOOD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct life l = { .phase = PHASE_WAITING };
	for (size_t i = 0; i < size; i++) {
		enum op_input input = data[i] % INPUT_MAX;
		struct op_step s = opfsm_step(l.phase, input);
		if (!s.legal)
			continue;
		HOLDS(!op_phase_ended(l.phase) && s.next < PHASE_MAX);
		l.phase = s.next;
		l.last = input;
		life_effect(&l, s.effect);
		life_check(&l);
	}
	return 0;
}
