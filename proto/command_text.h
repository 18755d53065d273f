/*
 * What the text of a shell command seems to be about: guesses for advice, never for what is done.
 * Words are what stands between blanks, quotes and operators; nothing is expanded but braces.
 */
#ifndef PROTO_COMMAND_TEXT_H
#define PROTO_COMMAND_TEXT_H

#include <stddef.h>

#include "common/buf.h"
#include "common/slice.h"

/* Where the words stand in the command, as whole words; SIZE_MAX: nowhere. */
size_t command_find(struct slice command, const char *words);
/* The folder it goes to first: `cd DIR && ...`; else absent. */
struct slice command_cd(struct slice command);
/* Appends the folders that its first `mkdir` makes, each ended by a NUL, without "./" and the last
 * "/"; those that a variable or a pattern names are left out. */
void command_mkdirs(struct slice command, struct buf *ret);
/* The file that it next writes by a redirection (`> FILE`, `>> FILE`, `2> FILE`, `&> FILE`) from
 * `*at` on, which then is that of the operator's end; absent: none is left. What is quoted, said in
 * a comment or written into a here-document is none; a name that the shell makes of something is
 * left out. Nothing is told of a command that may leave out a part of itself (`if`, `||`, `test`,
 * ...). */
struct slice command_redirect(struct slice command, size_t *at);
/* Does it name something below the folder? */
bool command_names(struct slice command, struct slice folder);

#endif
