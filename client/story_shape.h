/* The part of a story that is worked out of what was loaded. Pure. */
#ifndef CLIENT_STORY_SHAPE_H
#define CLIENT_STORY_SHAPE_H

#include "client/story.h"

/* Fills the times, lanes and the critical path of a story whose ops and deps are there. */
void story_shape(struct story *s);

#endif
