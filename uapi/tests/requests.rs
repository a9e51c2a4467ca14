// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The checks of request structures, and the rules of versions.

use std::mem::size_of;

use uapi::filter::{FILTER_DISTANCE, FILTER_LABEL, FILTER_MTIME, FILTER_TAG, FILTER_UID};
use uapi::name::name_field;
use uapi::record::{DELETE_ALL, PUT_MANY_MAX, THIS_FILE};
use uapi::request::{bytes_to_copy, SIZE_MAX};
use uapi::search::{SEARCH_K_MAX, SEARCH_QUERIES_MAX};
use uapi::*;

/// A request with a size, a name and nothing else. All structures begin alike.
fn blank<T: Request>(named: bool) -> T {
    let mut request = T::new_zeroed();
    let bytes = request.as_mut_bytes();
    bytes[..4].copy_from_slice(&(size_of::<T>() as u32).to_ne_bytes());
    if named {
        bytes[8..72].copy_from_slice(&name_field("notes").unwrap());
    }
    request
}

fn create() -> IndexCreate {
    IndexCreate {
        dim: 384,
        element: ELEMENT_F32,
        metric: METRIC_COSINE,
        mode: 0o644,
        ..blank(true)
    }
}

fn list() -> IndexList {
    IndexList {
        capacity: 1,
        entry_size: size_of::<IndexInfo>() as u32,
        ..blank(false)
    }
}

fn put() -> Put {
    Put {
        vector_bytes: 1536,
        ..blank(true)
    }
}

fn put_many() -> PutMany {
    PutMany {
        count: 1,
        record_size: size_of::<PutRecord>() as u32,
        vector_bytes: 1536,
        ..blank(true)
    }
}

fn search() -> Search {
    Search {
        query_bytes: 1536,
        query_count: 1,
        k: 10,
        hit_size: size_of::<Hit>() as u32,
        ..blank(true)
    }
}

/// What holds for every request: its size, its flags, its reserved fields.
fn common<T: Request + Copy>(good: T, reserved_offset: usize) {
    assert_eq!(good.check(), Ok(()));
    let with = |at: usize, value: u8| {
        let mut request = good;
        request.as_mut_bytes()[at] = value;
        request.check()
    };
    assert_eq!(with(0, good.as_bytes()[0] ^ 1), Err(BadRequest::Size));
    assert_eq!(with(3, 1), Err(BadRequest::TooNew));
    assert_eq!(with(7, 0x80), Err(BadRequest::Flags));
    for at in reserved_offset..size_of::<T>() {
        assert_eq!(with(at, 1), Err(BadRequest::Reserved), "byte {at}");
    }
    // The number encodes the first version's size, the type, and both directions
    // or one.
    assert_eq!((T::NUMBER >> 16) as usize & 0x3fff, T::MIN_SIZE);
    assert_eq!(T::NUMBER >> 8 & 0xff, 0xE7);
    assert!(matches!(T::NUMBER >> 30, 1 | 3));
    // Versions by size.
    let min = T::MIN_SIZE as u32;
    assert_eq!(bytes_to_copy::<T>(0), Err(BadRequest::Size));
    assert_eq!(bytes_to_copy::<T>(min - 8), Err(BadRequest::Size));
    assert_eq!(bytes_to_copy::<T>(min + 4), Err(BadRequest::Size));
    assert_eq!(bytes_to_copy::<T>(min), Ok(T::MIN_SIZE));
    assert_eq!(bytes_to_copy::<T>(min + 800), Ok(size_of::<T>()));
    assert_eq!(
        bytes_to_copy::<T>(SIZE_MAX as u32 + 8),
        Err(BadRequest::TooNew)
    );
    assert_eq!(bytes_to_copy::<T>(u32::MAX - 7), Err(BadRequest::TooNew));
}

#[test]
fn sizes_flags_and_reserved_fields() {
    common(create(), 88);
    common(blank::<IndexInfo>(true), 166);
    common(blank::<IndexEfforts>(true), 84);
    common(list(), 36);
    common(blank::<IndexDrop>(true), 72);
    common(put(), 100);
    common(put_many(), 104);
    common(blank::<Get>(true), 104);
    common(blank::<Delete>(true), 88);
    common(search(), 152);
    common(blank::<Stats>(false), 80);
    common(blank::<IndexVerify>(true), 288);
    common(blank::<IndexBuild>(true), 104);
}

#[test]
fn request_numbers_differ() {
    let mut numbers = [
        IndexCreate::NUMBER,
        IndexInfo::NUMBER,
        IndexList::NUMBER,
        IndexDrop::NUMBER,
        Put::NUMBER,
        PutMany::NUMBER,
        Get::NUMBER,
        Delete::NUMBER,
        Search::NUMBER,
        Stats::NUMBER,
        IndexVerify::NUMBER,
        IndexBuild::NUMBER,
        IndexEfforts::NUMBER,
    ]
    .map(|number| number & 0xff);
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 19]);
}

#[test]
fn ranges() {
    let bad = Err(BadRequest::Range);
    for (steps, right) in [(0, true), (1024, true), (1025, false), (u32::MAX, false)] {
        let expected = if right { Ok(()) } else { bad };
        let verify: IndexVerify = blank(true);
        assert_eq!(IndexVerify { steps, ..verify }.check(), expected);
        let build: IndexBuild = blank(true);
        assert_eq!(IndexBuild { steps, ..build }.check(), expected);
    }
    for (efforts, right) in [
        ([0, 0, 0], true),
        ([1, 1, 63_488], true),
        ([1, 1, 63_489], false),
        ([0, 1, 1], false),
        ([0, 0, 1], false),
        ([2, 1, 3], false),
        ([1, 3, 2], false),
        ([1, 1, 0], false),
    ] {
        let expected = if right { Ok(()) } else { bad };
        let noted: IndexEfforts = blank(true);
        assert_eq!(IndexEfforts { efforts, ..noted }.check(), expected);
    }
    for dim in [0, DIM_MAX + 1, u32::MAX] {
        assert_eq!(IndexCreate { dim, ..create() }.check(), bad);
    }
    assert_eq!(
        IndexCreate {
            mode: 0o1000,
            ..create()
        }
        .check(),
        bad
    );
    assert_eq!(
        IndexCreate {
            element: 0,
            ..create()
        }
        .check(),
        bad
    );
    assert_eq!(
        IndexCreate {
            metric: 0,
            ..create()
        }
        .check(),
        bad
    );
    // Known types and metrics, and nothing else; bits with hamming, and nothing else.
    for element in 1..=6 {
        for metric in 1..=6 {
            let request = IndexCreate {
                element,
                metric,
                ..create()
            };
            assert_eq!(request.check(), Ok(()));
            let bits = element == ELEMENT_BINARY && metric == METRIC_HAMMING;
            let others = matches!(element, ELEMENT_F32 | ELEMENT_F16 | ELEMENT_I8)
                && matches!(metric, METRIC_L2 | METRIC_COSINE | METRIC_DOT);
            assert_eq!(request.is_supported(), bits || others);
        }
    }

    assert_eq!(
        IndexList {
            capacity: 0,
            ..list()
        }
        .check(),
        bad
    );
    assert_eq!(
        IndexList {
            entry_size: 160,
            ..list()
        }
        .check(),
        bad
    );

    for vector_bytes in [0, DIM_MAX * 4 + 1] {
        assert_eq!(
            Put {
                vector_bytes,
                ..put()
            }
            .check(),
            bad
        );
        assert_eq!(
            PutMany {
                vector_bytes,
                ..put_many()
            }
            .check(),
            bad
        );
        assert_eq!(
            Search {
                query_bytes: vector_bytes,
                ..search()
            }
            .check(),
            bad
        );
    }
    for count in [0, PUT_MANY_MAX + 1] {
        assert_eq!(
            PutMany {
                count,
                ..put_many()
            }
            .check(),
            bad
        );
    }
    assert_eq!(
        PutMany {
            record_size: 16,
            ..put_many()
        }
        .check(),
        bad
    );

    let record = PutRecord {
        label: 0,
        tag: 0,
        fd: THIS_FILE,
        reserved0: 0,
    };
    assert_eq!(record.check(), Ok(()));
    assert_eq!(PutRecord { fd: -2, ..record }.check(), bad);
    assert_eq!(
        PutRecord {
            reserved0: 1,
            ..record
        }
        .check(),
        Err(BadRequest::Reserved)
    );

    let delete = Delete {
        flags: DELETE_ALL,
        ..blank(true)
    };
    assert_eq!(delete.check(), Ok(()));
    assert_eq!(Delete { label: 1, ..delete }.check(), bad);

    for k in [0, SEARCH_K_MAX + 1] {
        assert_eq!(Search { k, ..search() }.check(), bad);
    }
    for query_count in [0, SEARCH_QUERIES_MAX + 1, u32::MAX] {
        assert_eq!(
            Search {
                query_count,
                ..search()
            }
            .check(),
            bad
        );
    }
    assert_eq!(
        Search {
            k: 256,
            query_count: 1024,
            ..search()
        }
        .check(),
        Ok(())
    );
    assert_eq!(
        Search {
            k: 257,
            query_count: 1024,
            ..search()
        }
        .check(),
        bad
    );
    assert_eq!(
        Search {
            hit_size: 56,
            ..search()
        }
        .check(),
        bad
    );
}

#[test]
fn names() {
    let longest = "n".repeat(63);
    for name in [
        "a",
        "notes",
        "with space",
        "Größe",
        "日本語",
        ".",
        longest.as_str(),
    ] {
        assert_eq!(parse_name(&name_field(name).unwrap()), Ok(name));
    }
    let too_long = "n".repeat(64);
    for name in [
        "",
        "a/b",
        "/",
        "a\0b",
        "a\0",
        " a",
        "a ",
        "a\n",
        too_long.as_str(),
    ] {
        assert_eq!(name_field(name), Err(BadRequest::Name), "{name:?}");
    }
    assert_eq!(parse_name(&[b'n'; 64]), Err(BadRequest::Name));
    assert_eq!(parse_name(&[0; 64]), Err(BadRequest::Name));
    let mut field = name_field("notes").unwrap();
    field[63] = b'x';
    assert_eq!(
        parse_name(&field),
        Err(BadRequest::Name),
        "bytes after the NUL"
    );
    let mut field = name_field("notes").unwrap();
    field[0] = 0xff;
    assert_eq!(parse_name(&field), Err(BadRequest::Name), "not UTF-8");
    assert_eq!(
        IndexDrop {
            name: [0; 64],
            ..blank(false)
        }
        .check(),
        Err(BadRequest::Name)
    );
}

#[test]
fn errors_have_numbers() {
    assert_eq!(BadRequest::TooNew.errno(), 7);
    for error in [
        BadRequest::Size,
        BadRequest::Flags,
        BadRequest::Reserved,
        BadRequest::Name,
        BadRequest::Range,
    ] {
        assert_eq!(error.errno(), 22);
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn filters() {
    let good = Filter {
        size: size_of::<Filter>() as u32,
        conditions: FILTER_LABEL | FILTER_TAG | FILTER_UID | FILTER_MTIME,
        label_min: 5,
        label_max: 9,
        tag_mask: 0xf0,
        tag_value: 0x20,
        uid: 7,
        mtime_min: -3,
        mtime_max: 3,
        subtree: 0,
        distance_max: 0,
        reserved: [0; 4],
    };
    assert_eq!(good.check(), Ok(()));
    for (label, tag, expected) in [
        (5, 0x20, true),
        (9, 0xf2f, true),
        (4, 0x20, false),
        (10, 0x20, false),
        (6, 0x30, false),
    ] {
        assert_eq!(good.admits(label, tag), expected, "{label} {tag:#x}");
    }
    for (uid, mtime, expected) in [(7, -3, true), (7, 3, true), (7, 4, false), (8, 0, false)] {
        assert_eq!(good.admits_file(uid, mtime), expected, "{uid} {mtime}");
    }
    assert!(good.asks_files());
    let none = Filter {
        conditions: 0,
        ..good
    };
    assert!(none.admits(0, 0) && none.admits_file(0, 0) && !none.asks_files());
    let bad = |change: fn(&mut Filter)| {
        let mut filter = good;
        change(&mut filter);
        filter.check().unwrap_err()
    };
    assert_eq!(bad(|f| f.size -= 8), BadRequest::Size);
    assert_eq!(bad(|f| f.size += 8), BadRequest::TooNew);
    assert_eq!(bad(|f| f.conditions = 64), BadRequest::Flags);
    assert_eq!(bad(|f| f.reserved[3] = 1), BadRequest::Reserved);
    assert_eq!(bad(|f| f.tag_value = 1), BadRequest::Range);
    let range = |distance: f64| {
        Filter {
            conditions: FILTER_DISTANCE,
            distance_max: distance.to_bits(),
            ..good
        }
        .check()
    };
    assert_eq!(range(-1.5), Ok(()));
    assert_eq!(range(f64::INFINITY), Ok(()));
    assert_eq!(range(f64::NAN), Err(BadRequest::Range));
}
