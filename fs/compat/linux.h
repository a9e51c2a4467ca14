/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's interfaces in C as the newest kernel has them, for older ones: what
 * changed its name or its arguments is defined here as it is called today. Where an
 * interface is a table of functions that Rust fills, see the Rust files beside this.
 */
#ifndef COMPAT_LINUX_H
#define COMPAT_LINUX_H

#include <linux/version.h>

#include <linux/blkdev.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/iomap.h>
#include <linux/mm.h>
#include <linux/workqueue.h>

/* 6.13: timestamps whose granularity follows who looks at them. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define FS_MGTIME 0
#define I_CTIME_QUERIED 0
#endif

/* 6.13: who walks over a list_lru is not told its lock any more. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define RVFS_LRU_LOCK spinlock_t *lock,
#else
#define RVFS_LRU_LOCK
#endif

/* 6.16: synchronous I/O of kernel memory, which may be from vmalloc() too. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
static inline int bdev_rw_virt(struct block_device *bdev, sector_t sector, void *data,
			       size_t len, blk_opf_t op)
{
	while (len) {
		size_t part = min_t(size_t, len, PAGE_SIZE - offset_in_page(data));
		struct page *page = is_vmalloc_addr(data) ? vmalloc_to_page(data) :
							    virt_to_page(data);
		struct bio_vec vec;
		struct bio bio;
		int error;

		bio_init(&bio, bdev, &vec, 1, op);
		bio.bi_iter.bi_sector = sector;
		__bio_add_page(&bio, page, part, offset_in_page(data));
		error = submit_bio_wait(&bio);
		bio_uninit(&bio);
		if (error)
			return error;
		data += part;
		sector += part >> SECTOR_SHIFT;
		len -= part;
	}
	return 0;
}
#endif

/* 6.17: file attributes in the kernel have a name of their own. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#define file_kattr fileattr
#endif

/* 6.18: the queue whose work runs on any processor has this name. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define system_dfl_wq system_unbound_wq
#endif

/*
 * 6.17: operations on folios are an argument of what writes; before, a mapping named
 * them. Write-back says of an I/O that it goes to unwritten space by a flag; before,
 * an I/O had the type of the mapping. And page faults and zeroing have an argument for
 * the filesystem.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#define iomap_write_ops iomap_folio_ops
#define iomap_file_buffered_write(iocb, from, ops, write_ops, private) \
	(iomap_file_buffered_write)(iocb, from, ops, private)
#define iomap_zero_range(inode, pos, len, did_zero, ops, write_ops, private) \
	(iomap_zero_range)(inode, pos, len, did_zero, ops)
#define iomap_truncate_page(inode, pos, did_zero, ops, write_ops, private) \
	(iomap_truncate_page)(inode, pos, did_zero, ops)
#define iomap_page_mkwrite(fault, ops, private) (iomap_page_mkwrite)(fault, ops)
#define iomap_set_write_ops(iomap, write_ops) ((iomap)->folio_ops = (write_ops))
#define iomap_ioend_is_unwritten(ioend) ((ioend)->io_type == IOMAP_UNWRITTEN)
#else
#define iomap_set_write_ops(iomap, write_ops) ((void)(iomap), (void)(write_ops))
#define iomap_ioend_is_unwritten(ioend) ((ioend)->io_flags & IOMAP_IOEND_UNWRITTEN)
#endif

/* 6.19: the state of an inode is read through functions. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
#define inode_state_read_once(inode) READ_ONCE((inode)->i_state)
#endif

/* 6.19: reading through iomap says how it reads; the usual way has a name. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
#define iomap_bio_read_folio(folio, ops) iomap_read_folio(folio, ops)
#define iomap_bio_readahead(rac, ops) iomap_readahead(rac, ops)
#endif

#endif
