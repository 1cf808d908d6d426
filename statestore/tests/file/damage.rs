//! Files that are not as they were written.

use std::fs;
use std::path::Path;

use turlough_statestore::{Options, Seq, Sync};

use crate::{SOON, append, ids, open, options, request, segments, try_open};

/// Appends so many, one after another, and gives the bytes of their segment.
async fn written(dir: &Path, options: &Options, count: u128) -> Vec<u8> {
    let state = open(dir, options).await;
    let mut last = Seq::START;
    for id in 0..count {
        last = state
            .log
            .append(request(1), last, &append(id, 50))
            .await
            .unwrap();
    }
    drop(state);
    let [path] = &segments(dir, "log")[..] else {
        panic!("one segment")
    };
    fs::read(path).unwrap()
}

/// A folder with this as its only segment of logs.
fn folder_with(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("flows/log");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("000000000001.segment"), bytes).unwrap();
    dir
}

#[tokio::test]
async fn a_tail_that_is_torn_at_any_byte_is_cut_off_and_appends_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Sync::Always);
    let two = written(dir.path(), &options, 2).await.len();
    let dir = tempfile::tempdir().unwrap();
    let three = written(dir.path(), &options, 3).await;
    assert!(two < three.len());
    for end in two..three.len() {
        // What never arrived is missing, or zeros where the length did.
        for zeros in [0, three.len() - end] {
            let mut bytes = three[..end].to_vec();
            bytes.resize(end + zeros, 0);
            let dir = folder_with(&bytes);
            let state = open(dir.path(), &options).await;
            assert_eq!(ids(&state, request(1)).await, [0, 1], "{end}");
            let last = state.log.last(request(1)).await.unwrap().unwrap().seq;
            let next = state.log.append(request(1), last, &append(9, 50)).await;
            assert!(next.unwrap() > last);
            drop(state);
            let state = open(dir.path(), &options).await;
            assert_eq!(ids(&state, request(1)).await, [0, 1, 9], "{end}");
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_anywhere_but_in_the_last_record_is_refused_by_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Sync::Always);
    let two = written(dir.path(), &options, 2).await.len();
    let dir = tempfile::tempdir().unwrap();
    let three = written(dir.path(), &options, 3).await;
    for at in 0..two {
        let mut bytes = three.clone();
        bytes[at] ^= 0x10;
        let dir = folder_with(&bytes);
        let error = try_open(dir.path(), &options).await.unwrap_err();
        let text = error.to_string();
        assert!(!error.passes(), "{at}: {text}");
        assert!(text.contains("000000000001.segment"), "{at}: {text}");
        // The magic and the version of the header have texts of their own.
        assert!(at < 10 || text.contains("offset"), "{at}: {text}");
        let kept = fs::read(&segments(dir.path(), "log")[0]).unwrap();
        assert_eq!(kept, bytes, "what is refused is left as it is");
    }
}

#[tokio::test]
async fn a_hole_in_what_was_not_forced_to_the_disk_yet_is_a_tail() {
    let options = options(SOON);
    let dir = tempfile::tempdir().unwrap();
    let one = written(dir.path(), &options, 1).await.len();
    let dir = tempfile::tempdir().unwrap();
    // All within one interval: the last record is whole, those before it are not.
    let mut bytes = written(dir.path(), &options, 4).await;
    bytes[one..one + 60].fill(0);
    let dir = folder_with(&bytes);
    let state = open(dir.path(), &options).await;
    assert_eq!(ids(&state, request(1)).await, [0]);
}

#[tokio::test]
async fn segments_before_the_last_must_be_whole_and_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        bytes_max: 1 << 20,
        ..options(SOON)
    };
    {
        let state = open(dir.path(), &options).await;
        let mut last = Seq::START;
        for id in 0..8 {
            let append = append(id, 60_000);
            last = state.log.append(request(1), last, &append).await.unwrap();
        }
    }
    let paths = segments(dir.path(), "log");
    assert!(paths.len() >= 4, "{paths:?}");
    let whole = fs::read(&paths[1]).unwrap();
    fs::write(&paths[1], &whole[..whole.len() - 1]).unwrap();
    let text = try_open(dir.path(), &options)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("000000000002.segment at offset"), "{text}");
    // Cut between two records, or all of them: what follows says so.
    fs::write(&paths[1], &whole[..40]).unwrap();
    let text = try_open(dir.path(), &options)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("000000000003.segment begins after"), "{text}");
    fs::remove_file(&paths[1]).unwrap();
    let text = try_open(dir.path(), &options)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("segments 1 and 3, and none between"),
        "{text}"
    );
    fs::write(&paths[1], &whole).unwrap();
    let state = open(dir.path(), &options).await;
    assert_eq!(ids(&state, request(1)).await, (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_newer_or_not_ours_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(SOON);
    let bytes = written(dir.path(), &options, 1).await;
    let mut newer = bytes.clone();
    newer[8] = 9;
    let of_other = [
        &b"something else of some length, no segment at all"[..],
        &bytes,
    ]
    .concat();
    for (bytes, expect) in [
        (newer, "format 9, this version reads up to 1"),
        (of_other, "it is no segment of a state"),
        (Vec::new(), "it is no segment of a state"),
    ] {
        let dir = folder_with(&bytes);
        let text = try_open(dir.path(), &options)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(expect) && text.contains("000000000001.segment"),
            "{text}"
        );
    }
    let dir = folder_with(&bytes);
    fs::write(dir.path().join("flows/log/notes.txt"), "mine").unwrap();
    let text = try_open(dir.path(), &options)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("notes.txt is no segment"), "{text}");
    let dir = folder_with(&bytes);
    fs::create_dir_all(dir.path().join("flows/flows")).unwrap();
    fs::write(dir.path().join("flows/flows/order"), "mine").unwrap();
    let text = try_open(dir.path(), &options)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("flows/order is damaged"), "{text}");
}

#[tokio::test]
async fn a_folder_that_is_in_use_is_refused_by_name_and_free_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(SOON);
    let state = open(dir.path(), &options).await;
    let error = try_open(dir.path(), &options).await.unwrap_err();
    let text = error.to_string();
    let folder = dir.path().join("flows");
    assert!(text.contains(folder.to_str().unwrap()), "{text}");
    let holder = format!("another process has it (process {})", std::process::id());
    assert!(text.contains(&holder), "{text}");
    // Another function has a folder of its own.
    let other = Options {
        function: "flights.acme".parse().unwrap(),
        ..options.clone()
    };
    open(dir.path(), &other).await;
    drop(state);
    open(dir.path(), &options).await;
}
