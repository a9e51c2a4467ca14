// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module that does what no module may do, to show that the debug kernel
 * notices: `insmod plant.ko defect=leak` and so on. It is never part of a
 * product, and must not be loaded into a kernel that anybody needs.
 */
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *defect = "";
module_param(defect, charp, 0);
MODULE_PARM_DESC(defect, "leak, lock_inversion, use_after_free, sleep_in_atomic, out_of_bounds, list_corruption");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);
/* Where the compiler cannot foresee what is read. */
static volatile unsigned int seen;
static volatile unsigned int beyond = 9;
static unsigned int table[8];

/*
 * Many, as stale copies of pointers lie about where the scan sees them: in the
 * allocator's own arrays of free objects those of the last few hundred.
 */
static noinline void leak(void)
{
	unsigned int i;

	for (i = 0; i < 4000; i++) {
		unsigned int *lost = kmalloc(512, GFP_KERNEL);

		if (lost)
			WRITE_ONCE(*lost, i);
	}
}

static noinline void lock_inversion(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static noinline void use_after_free(void)
{
	unsigned int *freed = kmalloc(64, GFP_KERNEL);

	if (!freed)
		return;
	WRITE_ONCE(*freed, 1);
	kfree(freed);
	seen = READ_ONCE(*freed);
}

static noinline void sleep_in_atomic(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static noinline void out_of_bounds(void)
{
	seen = table[beyond];
}

static noinline void list_corruption(void)
{
	LIST_HEAD(head);
	LIST_HEAD(entry);

	list_add(&entry, &head);
	head.next = &head;
	list_del(&entry);
}

static const struct {
	const char *name;
	void (*plant)(void);
} defects[] = {
	{ "leak", leak },
	{ "lock_inversion", lock_inversion },
	{ "use_after_free", use_after_free },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "out_of_bounds", out_of_bounds },
	{ "list_corruption", list_corruption },
};

static int __init plant_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(defects); i++) {
		if (strcmp(defect, defects[i].name) == 0) {
			defects[i].plant();
			return 0;
		}
	}
	return -EINVAL;
}

static void __exit plant_exit(void)
{
}

module_init(plant_init);
module_exit(plant_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Planted defects, to test the tests");
