/* Ends with a failure under AddressSanitizer if that finds the one block that nothing leads to. */
#include <stdlib.h>

static void *volatile kept, *volatile lost;

__attribute__((noinline)) static void lose(void)
{
	lost = malloc(1234);
	lost = NULL;
}

/* Else the stack still holds the pointer. */
__attribute__((noinline)) static void overwrite_stack(void)
{
	volatile char bytes[4096];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = 0;
}

int main(void)
{
	kept = malloc(100);
	lose();
	overwrite_stack();
	return 0;
}
