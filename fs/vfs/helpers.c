// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's macros and static inline functions that the Rust layer calls;
 * see helpers.h. Each helper is the C expression that it is named after.
 */
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/fileattr.h>
#include <linux/iversion.h>
#include <linux/kernel.h>
#include <linux/mnt_idmapping.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uidgid.h>
#include <linux/uio.h>
#include <linux/user_namespace.h>

#include "helpers.h"

bool rvfs_sb_rdonly(struct super_block *sb) { return sb_rdonly(sb); }
void rvfs_sb_start_intwrite(struct super_block *sb) { sb_start_intwrite(sb); }
void rvfs_sb_end_intwrite(struct super_block *sb) { sb_end_intwrite(sb); }
void rvfs_sb_start_pagefault(struct super_block *sb) { sb_start_pagefault(sb); }
void rvfs_sb_end_pagefault(struct super_block *sb) { sb_end_pagefault(sb); }

bool rvfs_sb_start_intwrite_trylock(struct super_block *sb)
{
	return sb_start_intwrite_trylock(sb);
}

void rvfs_super_set_uuid(struct super_block *sb, const u8 *uuid, unsigned int len)
{
	super_set_uuid(sb, uuid, len);
}

u64 rvfs_sb_bytes(struct super_block *sb) { return bdev_nr_bytes(sb->s_bdev); }

/* As ext4 does after an error: no s_umount, the flag alone. */
void rvfs_sb_force_rdonly(struct super_block *sb) { sb->s_flags |= SB_RDONLY; }

void rvfs_fc_error(struct fs_context *fc, const char *message)
{
	errorfc(fc, "%s", message);
}

void *rvfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

struct workqueue_struct *rvfs_alloc_completion_queue(const char *name)
{
	return alloc_workqueue("%s-completions", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, name);
}

static void rvfs_background_work(struct work_struct *work)
{
	struct rvfs_background *background =
		container_of(to_delayed_work(work), struct rvfs_background, work);
	s64 ms = background->run(background->sb);

	if (ms >= 0)
		rvfs_background_arm(background, ms);
}

struct rvfs_background *rvfs_background_new(struct super_block *sb,
					    s64 (*run)(struct super_block *sb))
{
	struct rvfs_background *background = kzalloc(sizeof(*background), GFP_KERNEL);

	if (!background)
		return NULL;
	background->sb = sb;
	background->run = run;
	INIT_DELAYED_WORK(&background->work, rvfs_background_work);
	return background;
}

void rvfs_background_arm(struct rvfs_background *background, unsigned int ms)
{
	queue_delayed_work(system_dfl_wq, &background->work, msecs_to_jiffies(ms));
}

/* Work that arms itself again is cancelled all the same. */
void rvfs_background_stop(struct rvfs_background *background)
{
	cancel_delayed_work_sync(&background->work);
}

void rvfs_background_free(struct rvfs_background *background)
{
	cancel_delayed_work_sync(&background->work);
	kfree(background);
}

void __noreturn rvfs_panic(const char *message) { panic("%s", message); }

struct file *rvfs_get_file(struct file *file) { return get_file(file); }
struct block_device *rvfs_file_bdev(struct file *file) { return file_bdev(file); }
u64 rvfs_bdev_bytes(struct block_device *bdev) { return bdev_nr_bytes(bdev); }
bool rvfs_bdev_read_only(struct block_device *bdev) { return bdev_read_only(bdev); }

int rvfs_bdev_rw_virt(struct block_device *bdev, sector_t sector, void *data, size_t len,
		      unsigned int op)
{
	return bdev_rw_virt(bdev, sector, data, len, op);
}

bool rvfs_inode_is_new(struct inode *inode) { return inode_state_read_once(inode) & I_NEW; }

void rvfs_inode_lock(struct inode *inode) { inode_lock(inode); }
bool rvfs_inode_trylock(struct inode *inode) { return inode_trylock(inode); }
void rvfs_inode_unlock(struct inode *inode) { inode_unlock(inode); }
void rvfs_inode_lock_shared(struct inode *inode) { inode_lock_shared(inode); }
bool rvfs_inode_trylock_shared(struct inode *inode) { return inode_trylock_shared(inode); }
void rvfs_inode_unlock_shared(struct inode *inode) { inode_unlock_shared(inode); }
void rvfs_invalidate_lock(struct inode *inode) { filemap_invalidate_lock(inode->i_mapping); }
void rvfs_invalidate_unlock(struct inode *inode) { filemap_invalidate_unlock(inode->i_mapping); }

void rvfs_invalidate_lock_shared(struct inode *inode)
{
	filemap_invalidate_lock_shared(inode->i_mapping);
}

void rvfs_invalidate_unlock_shared(struct inode *inode)
{
	filemap_invalidate_unlock_shared(inode->i_mapping);
}

loff_t rvfs_i_size_read(struct inode *inode) { return i_size_read(inode); }
void rvfs_i_size_write(struct inode *inode, loff_t size) { i_size_write(inode, size); }
u32 rvfs_i_uid_read(struct inode *inode) { return i_uid_read(inode); }
u32 rvfs_i_gid_read(struct inode *inode) { return i_gid_read(inode); }
void rvfs_i_uid_write(struct inode *inode, u32 uid) { i_uid_write(inode, uid); }
void rvfs_i_gid_write(struct inode *inode, u32 gid) { i_gid_write(inode, gid); }
void rvfs_set_ctime(struct inode *inode, s64 sec, u32 nsec) { inode_set_ctime(inode, sec, nsec); }

/* inode_init_owner() for an inode that does not exist yet. */
void rvfs_init_owner(struct mnt_idmap *idmap, struct inode *dir, umode_t *mode,
		     u32 *uid, u32 *gid)
{
	struct user_namespace *ns = dir->i_sb->s_user_ns;

	*uid = from_kuid(ns, mapped_fsuid(idmap, ns));
	if (dir->i_mode & S_ISGID) {
		*gid = from_kgid(ns, dir->i_gid);
		if (S_ISDIR(*mode))
			*mode |= S_ISGID;
	} else {
		*gid = from_kgid(ns, mapped_fsgid(idmap, ns));
	}
}

void rvfs_mapping_set_large_folios(struct inode *inode)
{
	mapping_set_large_folios(inode->i_mapping);
}

void rvfs_mapping_set_nofs(struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;

	mapping_set_gfp_mask(mapping, mapping_gfp_mask(mapping) & ~__GFP_FS);
}

bool rvfs_mapping_dirty_or_writeback(struct inode *inode)
{
	return mapping_tagged(inode->i_mapping, PAGECACHE_TAG_DIRTY) ||
	       mapping_tagged(inode->i_mapping, PAGECACHE_TAG_WRITEBACK);
}

struct inode *rvfs_d_inode(struct dentry *dentry) { return d_inode(dentry); }
const struct qstr *rvfs_d_name(struct dentry *dentry) { return &dentry->d_name; }
struct inode *rvfs_file_inode(struct file *file) { return file_inode(file); }
struct mnt_idmap *rvfs_file_idmap(struct file *file) { return file_mnt_idmap(file); }
u64 rvfs_file_mount_root(struct file *file) { return d_inode(file->f_path.mnt->mnt_root)->i_ino; }
u64 rvfs_inode_query_iversion(struct inode *inode) { return inode_query_iversion(inode); }

u32 rvfs_kuid_to_u32(struct inode *inode, const struct iattr *attr)
{
	return from_kuid(inode->i_sb->s_user_ns, attr->ia_uid);
}

u32 rvfs_kgid_to_u32(struct inode *inode, const struct iattr *attr)
{
	return from_kgid(inode->i_sb->s_user_ns, attr->ia_gid);
}

bool rvfs_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

struct dentry *rvfs_file_dentry(struct file *file) { return file->f_path.dentry; }

int rvfs_finish_open_simple(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

bool rvfs_fileattr_has_fsx(struct file_kattr *fa) { return fileattr_has_fsx(fa); }

void rvfs_get_bh(struct buffer_head *bh) { get_bh(bh); }
void rvfs_put_bh(struct buffer_head *bh) { brelse(bh); }
void rvfs_lock_buffer(struct buffer_head *bh) { lock_buffer(bh); }
bool rvfs_buffer_test(struct buffer_head *bh, unsigned int bit) { return test_bit(bit, &bh->b_state); }
void rvfs_buffer_set(struct buffer_head *bh, unsigned int bit) { set_bit(bit, &bh->b_state); }
void rvfs_buffer_clear(struct buffer_head *bh, unsigned int bit) { clear_bit(bit, &bh->b_state); }
void rvfs_set_buffer_uptodate(struct buffer_head *bh) { set_buffer_uptodate(bh); }
bool rvfs_buffer_uptodate(struct buffer_head *bh) { return buffer_uptodate(bh); }

struct buffer_head *rvfs_getblk(struct block_device *bdev, sector_t block, unsigned int size)
{
	return __getblk(bdev, block, size);
}

bool rvfs_in_transaction(void) { return current->journal_info; }

static int rvfs_journal_bmap(journal_t *journal, sector_t *block)
{
	*block += journal->j_blk_offset;
	return 0;
}

/* jbd2 does not add the start of the region itself when it maps log blocks. */
journal_t *rvfs_journal_init_dev(struct block_device *bdev, u64 start, int len, int bsize)
{
	journal_t *journal = jbd2_journal_init_dev(bdev, bdev, start, len, bsize);

	if (!IS_ERR(journal))
		journal->j_bmap = rvfs_journal_bmap;
	return journal;
}

void rvfs_journal_set_callback(journal_t *journal, void *private,
			       void (*callback)(journal_t *, transaction_t *))
{
	journal->j_private = private;
	journal->j_commit_callback = callback;
}

void *rvfs_journal_private(journal_t *journal) { return journal->j_private; }
bool rvfs_journal_aborted(journal_t *journal) { return is_journal_aborted(journal); }

bool rvfs_journal_needs_replay(journal_t *journal) { return journal->j_superblock->s_start; }

void rvfs_journal_set_barrier(journal_t *journal, bool on)
{
	write_lock(&journal->j_state_lock);
	if (on)
		journal->j_flags |= JBD2_BARRIER;
	else
		journal->j_flags &= ~JBD2_BARRIER;
	write_unlock(&journal->j_state_lock);
}

void rvfs_journal_set_interval(journal_t *journal, unsigned int seconds)
{
	journal->j_commit_interval = HZ * seconds;
}

int rvfs_journal_max_credits(journal_t *journal)
{
	return journal->j_max_transaction_buffers - journal->j_transaction_overhead_buffers;
}

tid_t rvfs_journal_latest_tid(journal_t *journal) { return jbd2_get_latest_transaction(journal); }

/* The oldest transaction that the log on disk still has, or the next one. */
tid_t rvfs_journal_tail_tid(journal_t *journal)
{
	tid_t tid;

	read_lock(&journal->j_state_lock);
	tid = journal->j_tail_sequence;
	read_unlock(&journal->j_state_lock);
	return tid;
}

tid_t rvfs_transaction_tid(transaction_t *transaction) { return transaction->t_tid; }
tid_t rvfs_handle_tid(handle_t *handle) { return handle->h_transaction->t_tid; }
int rvfs_handle_credits(handle_t *handle) { return jbd2_handle_buffer_credits(handle); }
bool rvfs_handle_aborted(handle_t *handle) { return is_handle_aborted(handle); }
void rvfs_handle_sync(handle_t *handle) { handle->h_sync = 1; }

handle_t *rvfs_journal_start(journal_t *journal, int blocks, int revokes)
{
	return jbd2__journal_start(journal, blocks, 0, revokes, GFP_NOFS, 0, 0);
}

u64 rvfs_iov_iter_count(struct iov_iter *iter) { return iov_iter_count(iter); }

ssize_t rvfs_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

void rvfs_iomap_read_folio(struct folio *folio, const struct iomap_ops *ops)
{
	iomap_bio_read_folio(folio, ops);
}

void rvfs_iomap_readahead(struct readahead_control *rac, const struct iomap_ops *ops)
{
	iomap_bio_readahead(rac, ops);
}

ssize_t rvfs_iomap_file_buffered_write(struct kiocb *iocb, struct iov_iter *from,
				       const struct iomap_ops *ops,
				       const struct iomap_write_ops *write_ops)
{
	return iomap_file_buffered_write(iocb, from, ops, write_ops, NULL);
}

int rvfs_iomap_zero_range(struct inode *inode, loff_t pos, loff_t len,
			  const struct iomap_ops *ops, const struct iomap_write_ops *write_ops)
{
	return iomap_zero_range(inode, pos, len, NULL, ops, write_ops, NULL);
}

int rvfs_iomap_truncate_page(struct inode *inode, loff_t pos, bool *did_zero,
			     const struct iomap_ops *ops,
			     const struct iomap_write_ops *write_ops)
{
	return iomap_truncate_page(inode, pos, did_zero, ops, write_ops, NULL);
}

vm_fault_t rvfs_iomap_page_mkwrite(struct vm_fault *fault, const struct iomap_ops *ops)
{
	return iomap_page_mkwrite(fault, ops, NULL);
}

void rvfs_iomap_set_write_ops(struct iomap *iomap, const struct iomap_write_ops *write_ops)
{
	iomap_set_write_ops(iomap, write_ops);
}

bool rvfs_ioend_is_unwritten(struct iomap_ioend *ioend) { return iomap_ioend_is_unwritten(ioend); }

/*
 * A folio of inline data is not dirty: nothing but a reference keeps it in
 * memory until iomap_end has stored the data, and a folio read again before
 * that would have the old data for ever.
 */
struct folio *rvfs_iomap_get_folio(struct iomap_iter *iter, loff_t pos, unsigned int len)
{
	struct folio *folio = iomap_get_folio(iter, pos, len);

	if (!IS_ERR(folio) && iter->iomap.type == IOMAP_INLINE && !iter->iomap.private) {
		folio_get(folio);
		iter->iomap.private = folio;
	}
	return folio;
}

void rvfs_iomap_unpin(struct iomap *iomap)
{
	struct folio *folio = iomap->private;

	iomap->private = NULL;
	if (folio)
		folio_put(folio);
}

void rvfs_mapping_set_error(struct inode *inode, int error)
{
	mapping_set_error(inode->i_mapping, error);
}

void rvfs_completions_init(struct rvfs_completions *q, struct workqueue_struct *wq,
			   work_func_t func)
{
	spin_lock_init(&q->lock);
	INIT_LIST_HEAD(&q->list);
	INIT_WORK(&q->work, func);
	q->wq = wq;
}

/* Called when a bio completes, in any context. */
void rvfs_completions_push(struct rvfs_completions *q, struct iomap_ioend *ioend)
{
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	if (list_empty(&q->list))
		queue_work(q->wq, &q->work);
	list_add_tail(&ioend->io_list, &q->list);
	spin_unlock_irqrestore(&q->lock, flags);
}

void rvfs_completions_take(struct rvfs_completions *q, struct list_head *out)
{
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	list_replace_init(&q->list, out);
	spin_unlock_irqrestore(&q->lock, flags);
}

struct iomap_ioend *rvfs_ioend_pop(struct list_head *list)
{
	struct iomap_ioend *ioend = list_first_entry_or_null(list, struct iomap_ioend, io_list);

	if (ioend)
		list_del_init(&ioend->io_list);
	return ioend;
}

struct rvfs_completions *rvfs_work_completions(struct work_struct *work)
{
	return container_of(work, struct rvfs_completions, work);
}

struct iomap_ioend *rvfs_ioend_of(struct bio *bio) { return iomap_ioend_from_bio(bio); }
int rvfs_bio_error(struct bio *bio) { return blk_status_to_errno(bio->bi_status); }
struct file *rvfs_fault_file(struct vm_fault *fault) { return fault->vma->vm_file; }
void rvfs_file_accessed(struct file *file) { file_accessed(file); }

bool rvfs_caller_ids(struct mnt_idmap *idmap, u32 *uid, u32 *gid)
{
	kuid_t kuid = mapped_fsuid(idmap, &init_user_ns);
	kgid_t kgid = mapped_fsgid(idmap, &init_user_ns);

	*uid = from_kuid(&init_user_ns, kuid);
	*gid = from_kgid(&init_user_ns, kgid);
	return uid_valid(kuid) && gid_valid(kgid);
}

bool rvfs_caller_is_user(struct mnt_idmap *idmap, u32 uid)
{
	kuid_t kuid = make_kuid(&init_user_ns, uid);

	return vfsuid_eq_kuid(make_vfsuid(idmap, &init_user_ns, kuid), current_fsuid());
}

bool rvfs_caller_in_group(struct mnt_idmap *idmap, u32 gid)
{
	kgid_t kgid = make_kgid(&init_user_ns, gid);

	return vfsgid_in_group_p(make_vfsgid(idmap, &init_user_ns, kgid));
}

void rvfs_caller_sees_ids(struct mnt_idmap *idmap, u32 *uid, u32 *gid)
{
	vfsuid_t vfsuid = make_vfsuid(idmap, &init_user_ns, make_kuid(&init_user_ns, *uid));
	vfsgid_t vfsgid = make_vfsgid(idmap, &init_user_ns, make_kgid(&init_user_ns, *gid));

	*uid = from_kuid_munged(current_user_ns(), vfsuid_into_kuid(vfsuid));
	*gid = from_kgid_munged(current_user_ns(), vfsgid_into_kgid(vfsgid));
}

void rvfs_cond_resched(void) { cond_resched(); }
bool rvfs_fatal_signal_pending(void) { return fatal_signal_pending(current); }
unsigned int rvfs_memalloc_nofs_save(void) { return memalloc_nofs_save(); }
void rvfs_memalloc_nofs_restore(unsigned int flags) { memalloc_nofs_restore(flags); }
void rvfs_memalloc_retry_wait(void) { memalloc_retry_wait(GFP_NOFS); }
void rvfs_init_rwsem(struct rw_semaphore *sem) { init_rwsem(sem); }

/* A class of its own for lockdep, by being another place. */
void rvfs_init_outer_rwsem(struct rw_semaphore *sem) { init_rwsem(sem); }

void rvfs_ktime_real(s64 *sec, u32 *nsec)
{
	struct timespec64 now;

	ktime_get_real_ts64(&now);
	*sec = now.tv_sec;
	*nsec = now.tv_nsec;
}
