/*
 * What the verbs and options of pueue, task-spooler, HyperQueue and of daily shell life are called
 * here: people type them before they have read anything. Asked only for words that are unknown.
 */
#ifndef CLIENT_HABITS_H
#define CLIENT_HABITS_H

/* `command`: "batchctl", "batchctl todo", ...; `word` as typed, options with their dashes. What to
 * type instead, as in "here it is `batchctl resume`", or NULL. */
const char *habit_here(const char *command, const char *word);

#endif
