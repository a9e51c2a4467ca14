/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Input of bindgen: the kernel's interfaces that the `kernel` crate has no
 * bindings for. Which items are taken is said in bindings_parameters; all types
 * that the kernel crate already has come from there, so that they stay one.
 */
#include <linux/hrtimer_types.h>

#include <linux/blkdev.h>
#include <linux/crc32.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/random.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/falloc.h>

#include "helpers.h"

/* What bindgen cannot evaluate by itself: casts and sparse annotations. */
const int RVFS_IOCB_NOWAIT = IOCB_NOWAIT;
const int RVFS_IOCB_DIRECT = IOCB_DIRECT;
const unsigned int RVFS_FOP_BUFFER_RASYNC = FOP_BUFFER_RASYNC;
const unsigned int RVFS_FOP_BUFFER_WASYNC = FOP_BUFFER_WASYNC;
const unsigned int RVFS_FMODE_NOWAIT = FMODE_NOWAIT;
const unsigned int RVFS_FMODE_CAN_ODIRECT = FMODE_CAN_ODIRECT;
const unsigned int RVFS_FMODE_READ = FMODE_READ;
const unsigned int RVFS_FMODE_WRITE = FMODE_WRITE;
const unsigned int RVFS_BH_VERIFIED = BH_JBDPrivateStart;
const unsigned int RVFS_SLAB_FLAGS = SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT;
const unsigned int RVFS_VM_FAULT_SIGBUS = VM_FAULT_SIGBUS;
const int RVFS_REQ_OP_READ = REQ_OP_READ;
const int RVFS_REQ_OP_WRITE = REQ_OP_WRITE | REQ_SYNC;
const int RVFS_I_DIRTY = I_DIRTY;
const int RVFS_I_DIRTY_SYNC = I_DIRTY_SYNC;
const int RVFS_I_DIRTY_DATASYNC = I_DIRTY_DATASYNC;
const int RVFS_I_DIRTY_TIME = I_DIRTY_TIME;
const long long RVFS_MAX_LFS_FILESIZE = MAX_LFS_FILESIZE;
const unsigned long RVFS_SB_RDONLY = SB_RDONLY;
const unsigned int RVFS_GFP_MOVABLE = __GFP_MOVABLE;
const unsigned int RVFS_CTIME_QUERIED = I_CTIME_QUERIED;
const unsigned int RVFS_S_SYNC = S_SYNC;
const unsigned int RVFS_S_DIRSYNC = S_DIRSYNC;
const unsigned int RVFS_S_APPEND = S_APPEND;
const unsigned int RVFS_S_IMMUTABLE = S_IMMUTABLE;
const unsigned int RVFS_S_NOATIME = S_NOATIME;
const unsigned long RVFS_SB_POSIXACL = SB_POSIXACL;
const unsigned long RVFS_SB_SYNCHRONOUS = SB_SYNCHRONOUS;
const unsigned long RVFS_SB_DIRSYNC = SB_DIRSYNC;
const unsigned int RVFS_GFP_NOFS = GFP_NOFS;
const unsigned int RVFS_DURABLE_WRITE = REQ_SYNC | REQ_PREFLUSH | REQ_FUA;
const unsigned int RVFS_SB_SILENT = SB_SILENT;
const int RVFS_FS_FLAGS = FS_REQUIRES_DEV | FS_ALLOW_IDMAP | FS_MGTIME;
