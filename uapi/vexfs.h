/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The ioctl ABI of VexFS for C. The reference, with the meaning of every field and
 * all errors, is the documentation of the Rust crate `uapi`; tests/header.rs proves
 * that this file says the same.
 *
 * Requests work on any open file descriptor of the mount; those on records act on
 * the file behind it. Set `size` to the size of the structure, everything that is
 * not mentioned to zero. Fields marked "out" are written by the kernel. Vectors are
 * little-endian elements; pointers are passed as __u64.
 */
#ifndef VEXFS_H
#define VEXFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VEXFS_IOC_TYPE 0xE7

/* Index names: 1 to 63 bytes of UTF-8 without '/', no white space at the ends. */
#define VEXFS_NAME_SIZE 64
#define VEXFS_DIM_MAX 4096

/* Element types. BINARY is bits, the first one lowest in the first byte. */
#define VEXFS_ELEMENT_F32 1
#define VEXFS_ELEMENT_F16 2
#define VEXFS_ELEMENT_I8 3
#define VEXFS_ELEMENT_BINARY 4

/* Metrics; smaller is nearer. HAMMING goes with BINARY, the others do not. */
#define VEXFS_METRIC_L2 1     /* squared Euclidean distance */
#define VEXFS_METRIC_COSINE 2 /* 1 - cos, 0 to 2 */
#define VEXFS_METRIC_DOT 3    /* negated inner product */
#define VEXFS_METRIC_HAMMING 4

struct vexfs_index_create {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u32 dim;
	__u32 element;
	__u32 metric;
	__u32 mode; /* permission bits: read to search and get, write to put and delete */
	__u64 reserved[4];
};

struct vexfs_index_info {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE]; /* all that follows is out */
	__u32 id;
	__u32 dim;
	__u32 element;
	__u32 metric;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 segments;
	__u64 records;
	__u64 slots; /* records for which there is room */
	__u64 bytes; /* of the device */
	__s64 created; /* seconds since 1970 */
	__u64 tree_entries; /* of the search tree */
	__u64 tree_bytes;
	__u32 tree_partitions;
	__u32 tree_height; /* levels */
	__u16 efforts[3]; /* as of VEXFS_IOC_INDEX_EFFORTS */
	__u16 reserved;
};

struct vexfs_index_list {
	__u32 size;
	__u32 flags;
	__u64 cursor; /* 0 to begin; out: for the next call */
	__u64 entries; /* struct vexfs_index_info *, out */
	__u32 capacity; /* entries that there is room for */
	__u32 entry_size; /* sizeof(struct vexfs_index_info) */
	__u32 count; /* out: entries written; 0 at the end */
	__u32 reserved0;
	__u64 reserved[3];
};

struct vexfs_index_drop {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u64 reserved[2];
};

#define VEXFS_EFFORT_MAX 63488

struct vexfs_index_efforts {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	/* leaves for a recall of 0.9, 0.95, 0.99: hundredths of the root of the partitions */
	__u32 efforts[3];
	__u32 reserved0;
	__u64 reserved[2];
};

/* PUT and PUT_MANY: fail with EEXIST instead of replacing. */
#define VEXFS_PUT_EXCL 1

struct vexfs_put {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u64 label;
	__u64 tag;
	__u64 vector; /* const void * */
	__u32 vector_bytes;
	__u32 reserved0;
	__u64 reserved[2];
};

#define VEXFS_PUT_MANY_MAX 65536
#define VEXFS_THIS_FILE (-1)

struct vexfs_put_record {
	__u64 label;
	__u64 tag;
	__s32 fd; /* open for writing, or VEXFS_THIS_FILE */
	__u32 reserved0;
};

struct vexfs_put_many {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u64 records; /* const struct vexfs_put_record * */
	__u64 vectors; /* const void *: count * vector_bytes */
	__u32 count;
	__u32 record_size; /* sizeof(struct vexfs_put_record) */
	__u32 vector_bytes;
	__u32 done; /* out, also with an error: records stored */
	__u64 reserved[2];
};

/* GET: the record with the smallest label that is not below `label`. */
#define VEXFS_GET_NEXT 1

struct vexfs_get {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u64 label; /* out: of the record found */
	__u64 tag; /* out */
	__u64 vector; /* void *, out */
	__u32 capacity; /* bytes there */
	__u32 vector_bytes; /* out, also with ERANGE */
	__u64 reserved[2];
};

/* DELETE: all records of the file in the index; `label` must be 0. */
#define VEXFS_DELETE_ALL 1

struct vexfs_delete {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u64 label;
	__u64 deleted; /* out, also with an error */
	__u64 reserved[2];
};

/* SEARCH: compare with every record. */
#define VEXFS_SEARCH_EXACT 1

#define VEXFS_SEARCH_K_MAX 10000
#define VEXFS_SEARCH_QUERIES_MAX 1024
#define VEXFS_SEARCH_RECALL 9500
#define VEXFS_SEARCH_RECALL_MAX 10000
#define VEXFS_SEARCH_HITS_MAX 262144 /* of query_count * k */

struct vexfs_hit {
	__u64 inode;
	__u64 label;
	__u64 tag;
	__u64 distance; /* the bits of a double */
	__u32 generation;
	__u32 path_offset; /* in the memory at paths */
	__u32 path_len; /* bytes; no NUL follows */
	__u32 reserved0;
};

#define VEXFS_FILTER_LABEL 1 /* label_min <= label <= label_max */
#define VEXFS_FILTER_TAG 2 /* (tag & tag_mask) == tag_value */
#define VEXFS_FILTER_UID 4
#define VEXFS_FILTER_MTIME 8 /* mtime_min <= seconds <= mtime_max */
#define VEXFS_FILTER_SUBTREE 16 /* below the folder that is open as subtree */
#define VEXFS_FILTER_DISTANCE 32 /* distance <= distance_max */

struct vexfs_filter {
	__u32 size;
	__u32 conditions; /* VEXFS_FILTER_* that a hit must meet, or-ed */
	__u64 label_min;
	__u64 label_max;
	__u64 tag_mask;
	__u64 tag_value;
	__u32 uid;
	__s32 subtree;
	__s64 mtime_min;
	__s64 mtime_max;
	__u64 distance_max; /* the bits of a double */
	__u64 reserved[4];
};

struct vexfs_search {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u64 queries; /* const void *: query_count * query_bytes */
	__u32 query_bytes;
	__u32 query_count;
	__u32 k;
	__u32 hit_size; /* sizeof(struct vexfs_hit) */
	__u64 hits; /* struct vexfs_hit *, out: query_count rows of k */
	__u64 counts; /* __u32 *, out: hits of each query */
	__u64 paths; /* void *, out */
	__u32 paths_capacity;
	__u32 paths_used; /* out, also with ERANGE */
	__u64 distances; /* out: distances computed */
	__u32 probes; /* leaves to look at; 0: as recall needs */
	__u32 recall; /* aimed at, in 1/10000; 0: VEXFS_SEARCH_RECALL */
	__u64 filter; /* const struct vexfs_filter *, or 0 */
	__u64 reserved[6];
};

#define VEXFS_ISA_PORTABLE 0
#define VEXFS_ISA_AVX2 1
#define VEXFS_ISA_AVX512 2
#define VEXFS_ISA_NEON 3

struct vexfs_stats {
	__u32 size;
	__u32 flags; /* all that follows is out */
	__u32 isa; /* of the distance kernels */
	__u32 indexes;
	__u64 records;
	__u64 segments;
	__u64 slots;
	__u64 bytes;
	__u64 queries; /* this and the following: since the mount */
	__u64 distances;
	__u64 puts;
	__u64 deletes;
	__u64 reserved[6];
};

#define VEXFS_STEPS_MAX 1024
#define VEXFS_REASON_SIZE 128

struct vexfs_index_verify {
	__u32 size;
	__u32 flags;
	__u8 name[VEXFS_NAME_SIZE];
	__u64 cursor[4]; /* zeros to begin with; out: where to go on */
	__u32 steps; /* 0: VEXFS_STEPS_MAX */
	__u32 done; /* this and all that follows is out, and of this request */
	__u64 partitions;
	__u64 entries;
	__u64 records;
	__u64 missing; /* records without an entry */
	__u64 state; /* 0, or other than before: something has changed */
	__u64 block;
	__u8 reason[VEXFS_REASON_SIZE]; /* what is wrong with the block; empty: nothing */
	__u64 reserved[4];
};

#define VEXFS_BUILD_TAKE_DOWN 1

struct vexfs_index_build {
	__u32 size;
	__u32 flags; /* VEXFS_BUILD_* */
	__u8 name[VEXFS_NAME_SIZE];
	__u64 cursor; /* zero to begin with; out: where to go on */
	__u32 steps; /* 0: VEXFS_STEPS_MAX */
	__u32 done; /* out */
	__u64 entries; /* out */
	__u64 records; /* out */
	__u64 reserved[4];
};

/*
 * The numbers encode the sizes of version 1 and never change, also if a structure
 * grows at its end.
 */
#define VEXFS_IOC_INDEX_CREATE _IOW(VEXFS_IOC_TYPE, 0, __u8[120])
#define VEXFS_IOC_INDEX_INFO _IOWR(VEXFS_IOC_TYPE, 1, __u8[168])
#define VEXFS_IOC_INDEX_LIST _IOWR(VEXFS_IOC_TYPE, 2, __u8[64])
#define VEXFS_IOC_INDEX_DROP _IOW(VEXFS_IOC_TYPE, 3, __u8[88])
#define VEXFS_IOC_PUT _IOW(VEXFS_IOC_TYPE, 4, __u8[120])
#define VEXFS_IOC_PUT_MANY _IOWR(VEXFS_IOC_TYPE, 5, __u8[120])
#define VEXFS_IOC_GET _IOWR(VEXFS_IOC_TYPE, 6, __u8[120])
#define VEXFS_IOC_DELETE _IOWR(VEXFS_IOC_TYPE, 7, __u8[104])
#define VEXFS_IOC_SEARCH _IOWR(VEXFS_IOC_TYPE, 8, __u8[200])
#define VEXFS_IOC_STATS _IOWR(VEXFS_IOC_TYPE, 9, __u8[128])
#define VEXFS_IOC_INDEX_VERIFY _IOWR(VEXFS_IOC_TYPE, 16, __u8[320])
#define VEXFS_IOC_INDEX_BUILD _IOWR(VEXFS_IOC_TYPE, 17, __u8[136])
#define VEXFS_IOC_INDEX_EFFORTS _IOW(VEXFS_IOC_TYPE, 19, __u8[104])

#endif /* VEXFS_H */
