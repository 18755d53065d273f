/*
 * A fuzz target without a fuzzer: runs it over the files of its corpus (folders or files), whole,
 * cut short at every place, and with single bits turned; so that what was once found stays found in
 * every `meson test`, with any compiler.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "tests/fuzz/fuzz.h"

/* Of one file; under a sanitizer some targets take milliseconds an input. */
#ifdef __SANITIZE_ADDRESS__
enum { CUTS = 32, TURNED_BITS = 64 };
#else
enum { CUTS = 256, TURNED_BITS = 512 };
#endif

/* In memory of exactly that size, so that a read beyond the end is seen. */
static void replay_bytes(const char *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	memcpy(copy, p, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static void replay_variants(const char *p, size_t len)
{
	size_t step = len / CUTS + 1, turn = len * 8 / TURNED_BITS + 1;
	char *copy = malloc(len ? len : 1);
	for (size_t cut = 0; cut < len; cut += step)
		replay_bytes(p, cut);
	for (size_t bit = 0; bit < len * 8; bit += turn) {
		memcpy(copy, p, len);
		copy[bit / 8] ^= (char)(1 << bit % 8);
		replay_bytes(copy, len);
	}
	free(copy);
}

static int replay_path(const char *path);

static int replay_folder(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;
	if (!d)
		return 0;
	for (struct dirent *f; (f = readdir(d));) {
		char name[4096];
		if (f->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, f->d_name);
		n += replay_path(name);
	}
	closedir(d);
	return n;
}

/* How many files were run. */
static int replay_path(const char *path)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct stat st;
	if (stat(path, &st) < 0) {
		fprintf(stderr, "cannot read '%s': %s\n", path, strerror(errno));
		exit(EXIT_FAILURE);
	}
	if (S_ISDIR(st.st_mode))
		return replay_folder(path);
	if (fd_read_file(path, 64 << 20, &b) < 0)
		exit(EXIT_FAILURE);
	replay_bytes(b.p, b.len);
	replay_variants(b.p, b.len);
	return 1;
}

int main(int argc, char **argv)
{
	int n = 0;
	for (int i = 1; i < argc; i++)
		n += replay_path(argv[i]);
	printf("%d inputs\n", n);
	return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
