#include "daemon/exec/exec_spawner_say.h"

#include <string.h>

void spawner_say(struct spawner_link *l, enum sw_type type, uint64_t token)
{
	struct sw_head f = { sizeof(f), (uint16_t)type, SW_VERSION, token };
	if (spawner_link_is_up(l))
		memcpy(spawner_link_add(l, sizeof(f), NULL, 0, 0), &f, sizeof(f));
}

static void say_note(struct spawner_link *l, uint64_t token, uint32_t note)
{
	struct sw_note f = { .head = { sizeof(f), SW_NOTE, SW_VERSION, token }, .note = note };
	if (spawner_link_can(l, SW_CAN_KEEP))
		memcpy(spawner_link_add(l, sizeof(f), NULL, 0, 0), &f, sizeof(f));
}

void spawner_say_stop(struct spawner_link *l, uint64_t token, uint32_t note, int64_t grace_ms)
{
	struct sw_stop f = { .head = { sizeof(f), SW_STOP, SW_VERSION, token },
			     .grace_ms = grace_ms };
	if (!spawner_link_is_up(l))
		return;
	if (note != 0)
		say_note(l, token, note);
	memcpy(spawner_link_add(l, sizeof(f), NULL, 0, 0), &f, sizeof(f));
}

void spawner_say_signal(struct spawner_link *l, uint64_t token, int signal)
{
	struct sw_signal f = { .head = { sizeof(f), SW_SIGNAL, SW_VERSION, token },
			       .signal = signal };
	if (spawner_link_is_up(l))
		memcpy(spawner_link_add(l, sizeof(f), NULL, 0, 0), &f, sizeof(f));
}
