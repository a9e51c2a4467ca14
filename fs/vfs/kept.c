// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffer heads that are kept at hand: see kept.rs, which is the only user. A table
 * (xarray) of chunks, each with the buffers of some blocks in a row; a list of the
 * chunks, kept per node and memory cgroup (list_lru); and a shrinker that lets those go
 * that were not used lately.
 *
 * A chunk is alive as long as somebody has a reference; the table has one. References
 * are taken under RCU. What a chunk holds is only ever added while it is alive, but for
 * rvfs_kept_end(). Order of locks: the list's, the table's; a chunk's own lock is a leaf.
 */
#include <linux/buffer_head.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/slab.h>

#include "helpers.h"

/*
 * The slab of chunks of all mounts of a type. It has no constructor, which would keep it
 * from being merged with another of the same size; merged, its name in /sys/kernel/slab
 * would be a link that stays when the module is gone (mm/slub.c, sysfs_slab_alias).
 */
struct kmem_cache *rvfs_kept_cache(const char *type)
{
	char *name = kasprintf(GFP_KERNEL, "%s_kept", type);
	struct kmem_cache *cache;

	if (!name)
		return NULL;
	cache = kmem_cache_create(name, sizeof(struct rvfs_kept_chunk), 0,
				  SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT | SLAB_HWCACHE_ALIGN |
				  SLAB_NO_MERGE, NULL);
	kfree(name);
	return cache;
}

static void rvfs_kept_free_chunk(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct rvfs_kept_chunk, rcu));
}

/* May be called under spinlocks. */
void rvfs_kept_put(struct rvfs_kept_chunk *chunk)
{
	int n;

	if (!refcount_dec_and_test(&chunk->refs))
		return;
	for (n = 0; n < RVFS_KEPT_BLOCKS; n++)
		brelse(chunk->bh[n]);
	call_rcu(&chunk->rcu, rvfs_kept_free_chunk);
}

static struct rvfs_kept_chunk *rvfs_kept_find(struct rvfs_kept *kept, u64 number)
{
	struct rvfs_kept_chunk *chunk;

	rcu_read_lock();
	chunk = xa_load(&kept->chunks, number);
	if (chunk && !refcount_inc_not_zero(&chunk->refs))
		chunk = NULL;
	rcu_read_unlock();
	return chunk;
}

struct rvfs_kept_chunk *rvfs_kept_get(struct rvfs_kept *kept, u64 number)
{
	struct rvfs_kept_chunk *chunk = rvfs_kept_find(kept, number);

	/* Most find it set, and leave its cache line alone. */
	if (chunk && !READ_ONCE(chunk->used))
		WRITE_ONCE(chunk->used, true);
	return chunk;
}

/* Small and needed as much as the pages of the buffers, which are not refused either. */
struct rvfs_kept_chunk *rvfs_kept_get_or_make(struct rvfs_kept *kept, u64 number)
{
	const gfp_t gfp = GFP_NOFS | __GFP_NOFAIL;
	struct rvfs_kept_chunk *chunk;
	int error;

	for (;;) {
		chunk = rvfs_kept_get(kept, number);
		if (chunk)
			return chunk;
		chunk = kmem_cache_alloc_lru(kept->cache, &kept->lru, gfp);
		if (!chunk)
			return NULL;
		memset(chunk, 0, sizeof(*chunk));
		INIT_LIST_HEAD(&chunk->lru);
		spin_lock_init(&chunk->lock);
		chunk->number = number;
		chunk->used = true;
		/* The table's and the caller's. */
		refcount_set(&chunk->refs, 2);
		error = xa_insert(&kept->chunks, number, chunk, gfp);
		if (!error) {
			list_lru_add_obj(&kept->lru, &chunk->lru);
			return chunk;
		}
		kfree(chunk);
		if (error != -EBUSY)
			return NULL;
	}
}

/*
 * Keeps a buffer that is up to date, with a reference of its own, as block `n` of the
 * chunk, and says that it is what `label` means. False if another buffer is there.
 */
bool rvfs_kept_fill(struct rvfs_kept_chunk *chunk, unsigned int n, u64 label,
		    struct buffer_head *bh)
{
	bool ours;

	spin_lock(&chunk->lock);
	if (!chunk->bh[n]) {
		get_bh(bh);
		chunk->bh[n] = bh;
		chunk->blocks[n].data = bh->b_data;
	}
	ours = chunk->bh[n] == bh;
	/* Who sees the label sees the buffer. */
	if (ours)
		smp_store_release(&chunk->blocks[n].label, label);
	spin_unlock(&chunk->lock);
	return ours;
}

/* Takes a chunk out of the table; the caller, or nobody, has taken it off the list. */
static void rvfs_kept_remove(struct rvfs_kept *kept, struct rvfs_kept_chunk *chunk)
{
	xa_erase(&kept->chunks, chunk->number);
	rvfs_kept_put(chunk);
}

/* Keeps `count` blocks from `start` on no longer. Nobody looks at them meanwhile. */
void rvfs_kept_end(struct rvfs_kept *kept, u64 start, u64 count)
{
	u64 end = start + count;
	struct rvfs_kept_chunk *chunk;
	unsigned long number;

	xa_for_each_range(&kept->chunks, number, chunk, start / RVFS_KEPT_BLOCKS,
			  (end - 1) / RVFS_KEPT_BLOCKS) {
		u64 block = (u64)number * RVFS_KEPT_BLOCKS;
		bool empty = true;
		int n;

		/* It may be on its way out. */
		chunk = rvfs_kept_find(kept, number);
		if (!chunk)
			continue;
		spin_lock(&chunk->lock);
		for (n = 0; n < RVFS_KEPT_BLOCKS; n++) {
			if (block + n >= start && block + n < end) {
				chunk->blocks[n].label = 0;
				chunk->blocks[n].data = NULL;
				brelse(chunk->bh[n]);
				chunk->bh[n] = NULL;
			}
			empty &= !chunk->bh[n];
		}
		spin_unlock(&chunk->lock);
		if (empty && list_lru_del_obj(&kept->lru, &chunk->lru))
			rvfs_kept_remove(kept, chunk);
		rvfs_kept_put(chunk);
	}
}

static unsigned long rvfs_kept_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct rvfs_kept *kept = shrinker->private_data;

	return list_lru_shrink_count(&kept->lru, sc);
}

static enum lru_status rvfs_kept_isolate(struct list_head *item, struct list_lru_one *list,
					 RVFS_LRU_LOCK void *arg)
{
	struct rvfs_kept_chunk *chunk = container_of(item, struct rvfs_kept_chunk, lru);

	if (READ_ONCE(chunk->used)) {
		WRITE_ONCE(chunk->used, false);
		return LRU_ROTATE;
	}
	list_lru_isolate(list, item);
	rvfs_kept_remove(arg, chunk);
	return LRU_REMOVED;
}

static unsigned long rvfs_kept_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct rvfs_kept *kept = shrinker->private_data;

	return list_lru_shrink_walk(&kept->lru, sc, rvfs_kept_isolate, kept);
}

struct rvfs_kept *rvfs_kept_new(struct kmem_cache *cache, const char *name)
{
	struct rvfs_kept *kept = kzalloc(sizeof(*kept), GFP_KERNEL);

	if (!kept)
		return NULL;
	kept->cache = cache;
	xa_init(&kept->chunks);
	kept->shrinker = shrinker_alloc(SHRINKER_NUMA_AWARE | SHRINKER_MEMCG_AWARE,
					"%s-kept", name);
	if (!kept->shrinker)
		goto no_shrinker;
	if (list_lru_init_memcg(&kept->lru, kept->shrinker))
		goto no_list;
	kept->shrinker->count_objects = rvfs_kept_count;
	kept->shrinker->scan_objects = rvfs_kept_scan;
	kept->shrinker->private_data = kept;
	shrinker_register(kept->shrinker);
	return kept;

no_list:
	shrinker_free(kept->shrinker);
no_shrinker:
	kfree(kept);
	return NULL;
}

void rvfs_kept_free(struct rvfs_kept *kept)
{
	struct rvfs_kept_chunk *chunk;
	unsigned long number;

	/* Waits until it runs no more. */
	shrinker_free(kept->shrinker);
	xa_for_each(&kept->chunks, number, chunk) {
		list_lru_del_obj(&kept->lru, &chunk->lru);
		rvfs_kept_remove(kept, chunk);
		cond_resched();
	}
	list_lru_destroy(&kept->lru);
	kfree(kept);
}
