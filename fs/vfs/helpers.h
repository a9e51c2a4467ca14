/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel offers only as a macro or a static inline function, made
 * callable from Rust; and the C structures that the layer needs. No logic lives here,
 * and none in helpers.c.
 */
#ifndef RVFS_HELPERS_H
#define RVFS_HELPERS_H

#include <linux/buffer_head.h>
#include <linux/exportfs.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/iomap.h>
#include <linux/jbd2.h>
#include <linux/list_lru.h>
#include <linux/refcount.h>
#include <linux/statfs.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <linux/xattr.h>

#include "../compat/linux.h"

/* Completed write-back of one inode, waiting for process context. */
struct rvfs_completions {
	spinlock_t lock;
	struct list_head list;
	struct work_struct work;
	struct workqueue_struct *wq;
};

/* super block */
bool rvfs_sb_rdonly(struct super_block *sb);
void rvfs_sb_start_intwrite(struct super_block *sb);
bool rvfs_sb_start_intwrite_trylock(struct super_block *sb);
void rvfs_sb_end_intwrite(struct super_block *sb);
void rvfs_sb_start_pagefault(struct super_block *sb);
void rvfs_sb_end_pagefault(struct super_block *sb);
void rvfs_super_set_uuid(struct super_block *sb, const u8 *uuid, unsigned int len);
u64 rvfs_sb_bytes(struct super_block *sb);
void rvfs_sb_force_rdonly(struct super_block *sb);
void rvfs_fc_error(struct fs_context *fc, const char *message);
void *rvfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache);
struct workqueue_struct *rvfs_alloc_completion_queue(const char *name);
void __noreturn rvfs_panic(const char *message);

/*
 * Work of a mount in the background. `run` says after how many milliseconds it
 * wants to run again; negative: not before it is armed.
 */
struct rvfs_background {
	struct delayed_work work;
	struct super_block *sb;
	s64 (*run)(struct super_block *sb);
};

struct rvfs_background *rvfs_background_new(struct super_block *sb,
					    s64 (*run)(struct super_block *sb));
void rvfs_background_arm(struct rvfs_background *background, unsigned int ms);
void rvfs_background_stop(struct rvfs_background *background);
void rvfs_background_free(struct rvfs_background *background);

/* files of block devices */
struct file *rvfs_get_file(struct file *file);
struct block_device *rvfs_file_bdev(struct file *file);
u64 rvfs_bdev_bytes(struct block_device *bdev);
bool rvfs_bdev_read_only(struct block_device *bdev);
int rvfs_bdev_rw_virt(struct block_device *bdev, sector_t sector, void *data, size_t len,
		      unsigned int op);

/* inode */
bool rvfs_inode_is_new(struct inode *inode);
void rvfs_inode_lock(struct inode *inode);
bool rvfs_inode_trylock(struct inode *inode);
void rvfs_inode_unlock(struct inode *inode);
void rvfs_inode_lock_shared(struct inode *inode);
bool rvfs_inode_trylock_shared(struct inode *inode);
void rvfs_inode_unlock_shared(struct inode *inode);
void rvfs_invalidate_lock(struct inode *inode);
void rvfs_invalidate_unlock(struct inode *inode);
void rvfs_invalidate_lock_shared(struct inode *inode);
void rvfs_invalidate_unlock_shared(struct inode *inode);
loff_t rvfs_i_size_read(struct inode *inode);
void rvfs_i_size_write(struct inode *inode, loff_t size);
u32 rvfs_i_uid_read(struct inode *inode);
u32 rvfs_i_gid_read(struct inode *inode);
void rvfs_i_uid_write(struct inode *inode, u32 uid);
void rvfs_i_gid_write(struct inode *inode, u32 gid);
void rvfs_set_ctime(struct inode *inode, s64 sec, u32 nsec);
void rvfs_init_owner(struct mnt_idmap *idmap, struct inode *dir, umode_t *mode,
		     u32 *uid, u32 *gid);
void rvfs_mapping_set_large_folios(struct inode *inode);
void rvfs_mapping_set_nofs(struct inode *inode);
bool rvfs_mapping_dirty_or_writeback(struct inode *inode);
struct inode *rvfs_d_inode(struct dentry *dentry);
const struct qstr *rvfs_d_name(struct dentry *dentry);
struct inode *rvfs_file_inode(struct file *file);
struct mnt_idmap *rvfs_file_idmap(struct file *file);
u64 rvfs_file_mount_root(struct file *file);
u64 rvfs_inode_query_iversion(struct inode *inode);
u32 rvfs_kuid_to_u32(struct inode *inode, const struct iattr *attr);
u32 rvfs_kgid_to_u32(struct inode *inode, const struct iattr *attr);

bool rvfs_fileattr_has_fsx(struct file_kattr *fa);
bool rvfs_dir_emit_dots(struct file *file, struct dir_context *ctx);
struct dentry *rvfs_file_dentry(struct file *file);
int rvfs_finish_open_simple(struct file *file, int error);

/* buffers */
void rvfs_get_bh(struct buffer_head *bh);
void rvfs_put_bh(struct buffer_head *bh);
void rvfs_lock_buffer(struct buffer_head *bh);
bool rvfs_buffer_test(struct buffer_head *bh, unsigned int bit);
void rvfs_buffer_set(struct buffer_head *bh, unsigned int bit);
void rvfs_buffer_clear(struct buffer_head *bh, unsigned int bit);
void rvfs_set_buffer_uptodate(struct buffer_head *bh);
bool rvfs_buffer_uptodate(struct buffer_head *bh);
struct buffer_head *rvfs_getblk(struct block_device *bdev, sector_t block, unsigned int size);

/* buffers that are kept at hand: kept.c */
#define RVFS_KEPT_BLOCKS 16

/* What is looked at of a block that is kept: in one cache line. */
struct rvfs_kept_block {
	/* What it was found to be when it was read; 0: not kept. */
	u64 label;
	void *data;
};

/* The buffers of RVFS_KEPT_BLOCKS blocks in a row, those that were read. */
struct rvfs_kept_chunk {
	struct rvfs_kept_block blocks[RVFS_KEPT_BLOCKS];
	struct buffer_head *bh[RVFS_KEPT_BLOCKS];
	refcount_t refs;
	/* Since the shrinker came by. */
	bool used;
	/* Guards the arrays against others who change them. */
	spinlock_t lock;
	/* The first block's number, in chunks. */
	u64 number;
	struct list_head lru;
	struct rcu_head rcu;
};

struct rvfs_kept {
	struct xarray chunks;
	struct list_lru lru;
	struct shrinker *shrinker;
	struct kmem_cache *cache;
};

struct kmem_cache *rvfs_kept_cache(const char *type);
struct rvfs_kept *rvfs_kept_new(struct kmem_cache *cache, const char *name);
void rvfs_kept_free(struct rvfs_kept *kept);
struct rvfs_kept_chunk *rvfs_kept_get(struct rvfs_kept *kept, u64 number);
struct rvfs_kept_chunk *rvfs_kept_get_or_make(struct rvfs_kept *kept, u64 number);
bool rvfs_kept_fill(struct rvfs_kept_chunk *chunk, unsigned int n, u64 label,
		    struct buffer_head *bh);
void rvfs_kept_end(struct rvfs_kept *kept, u64 start, u64 count);
void rvfs_kept_put(struct rvfs_kept_chunk *chunk);

/* jbd2 */
bool rvfs_in_transaction(void);
journal_t *rvfs_journal_init_dev(struct block_device *bdev, u64 start, int len, int bsize);
void rvfs_journal_set_callback(journal_t *journal, void *private,
			       void (*callback)(journal_t *, transaction_t *));
void *rvfs_journal_private(journal_t *journal);
bool rvfs_journal_aborted(journal_t *journal);
bool rvfs_journal_needs_replay(journal_t *journal);
void rvfs_journal_set_barrier(journal_t *journal, bool on);
void rvfs_journal_set_interval(journal_t *journal, unsigned int seconds);
int rvfs_journal_max_credits(journal_t *journal);
tid_t rvfs_journal_latest_tid(journal_t *journal);
tid_t rvfs_journal_tail_tid(journal_t *journal);
tid_t rvfs_transaction_tid(transaction_t *transaction);
tid_t rvfs_handle_tid(handle_t *handle);
int rvfs_handle_credits(handle_t *handle);
bool rvfs_handle_aborted(handle_t *handle);
void rvfs_handle_sync(handle_t *handle);
handle_t *rvfs_journal_start(journal_t *journal, int blocks, int revokes);

/* file data */
u64 rvfs_iov_iter_count(struct iov_iter *iter);
ssize_t rvfs_generic_write_sync(struct kiocb *iocb, ssize_t count);
void rvfs_iomap_read_folio(struct folio *folio, const struct iomap_ops *ops);
void rvfs_iomap_readahead(struct readahead_control *rac, const struct iomap_ops *ops);
void rvfs_completions_init(struct rvfs_completions *q, struct workqueue_struct *wq,
			   work_func_t func);
void rvfs_completions_push(struct rvfs_completions *q, struct iomap_ioend *ioend);
void rvfs_completions_take(struct rvfs_completions *q, struct list_head *out);
struct iomap_ioend *rvfs_ioend_pop(struct list_head *list);
ssize_t rvfs_iomap_file_buffered_write(struct kiocb *iocb, struct iov_iter *from,
				       const struct iomap_ops *ops,
				       const struct iomap_write_ops *write_ops);
int rvfs_iomap_zero_range(struct inode *inode, loff_t pos, loff_t len,
			  const struct iomap_ops *ops, const struct iomap_write_ops *write_ops);
int rvfs_iomap_truncate_page(struct inode *inode, loff_t pos, bool *did_zero,
			     const struct iomap_ops *ops,
			     const struct iomap_write_ops *write_ops);
vm_fault_t rvfs_iomap_page_mkwrite(struct vm_fault *fault, const struct iomap_ops *ops);
void rvfs_iomap_set_write_ops(struct iomap *iomap, const struct iomap_write_ops *write_ops);
bool rvfs_ioend_is_unwritten(struct iomap_ioend *ioend);
struct folio *rvfs_iomap_get_folio(struct iomap_iter *iter, loff_t pos, unsigned int len);
void rvfs_iomap_unpin(struct iomap *iomap);
void rvfs_mapping_set_error(struct inode *inode, int error);
struct rvfs_completions *rvfs_work_completions(struct work_struct *work);
struct iomap_ioend *rvfs_ioend_of(struct bio *bio);
int rvfs_bio_error(struct bio *bio);
struct file *rvfs_fault_file(struct vm_fault *fault);
void rvfs_file_accessed(struct file *file);

/* vector registers: simd/ */
bool rvfs_fpu_usable(void);
void rvfs_fpu_begin(void);
void rvfs_fpu_end(void);
#if defined(CONFIG_X86) || defined(CONFIG_UML)
bool rvfs_cpu_has_avx2(void);
bool rvfs_cpu_has_avx512(void);
bool rvfs_crc32_lacks_clmul(void);
#endif

/* the current task */
bool rvfs_caller_ids(struct mnt_idmap *idmap, u32 *uid, u32 *gid);
bool rvfs_caller_is_user(struct mnt_idmap *idmap, u32 uid);
bool rvfs_caller_in_group(struct mnt_idmap *idmap, u32 gid);
void rvfs_caller_sees_ids(struct mnt_idmap *idmap, u32 *uid, u32 *gid);

/* scheduling and locks */
void rvfs_cond_resched(void);
bool rvfs_fatal_signal_pending(void);
unsigned int rvfs_memalloc_nofs_save(void);
void rvfs_memalloc_nofs_restore(unsigned int flags);
void rvfs_memalloc_retry_wait(void);
void rvfs_init_rwsem(struct rw_semaphore *sem);
void rvfs_init_outer_rwsem(struct rw_semaphore *sem);
void rvfs_ktime_real(s64 *sec, u32 *nsec);


#endif
