//! Disks that are full.

use std::path::Path;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use turlough_statestore::{Seq, StateError, Sync};

use crate::{SOON, append, child, ids, open, options, request, segments};

const DIR: &str = "TURLOUGH_TEST_FULL_DIR";

/// The limit of the size of files stands for a disk without room: the system refuses the same call in
/// the same way, after having written a part. Its signal is ignored from the start, by the shell.
#[test]
fn what_a_full_disk_refuses_is_not_stored_and_appends_go_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let test = child("full::fills_its_files");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    shell.arg(test.get_program()).args(test.get_args());
    let ended = shell.env(DIR, dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit {
        current: bytes.or(maximum),
        maximum,
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

#[tokio::test]
#[ignore = "runs in a process of its own, see above"]
async fn fills_its_files() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    for (name, sync) in [("always", Sync::Always), ("soon", SOON)] {
        let dir = Path::new(&dir).join(name);
        let state = open(&dir, &options(sync)).await;
        let one = request(1);
        let first = state.log.append(one, Seq::START, &append(1, 1000)).await;
        let first = first.unwrap();
        state
            .queue
            .enqueue("flows", Bytes::from("a"))
            .await
            .unwrap();
        let length = segments(&dir, "log")[0].metadata().unwrap().len();
        // A part of the next append fits.
        limit_files(Some(length + 500));
        for _ in 0..3 {
            let refused = state.log.append(one, first, &append(2, 1000)).await;
            let error = refused.unwrap_err();
            assert!(matches!(error, StateError::Full { .. }), "{error}");
            assert!(
                error.to_string().contains("make room on the disk"),
                "{error}"
            );
            let now = segments(&dir, "log")[0].metadata().unwrap().len();
            assert_eq!(now, length, "what was half written is cut off");
        }
        let large = state.queue.enqueue("flows", vec![7; 10_000].into()).await;
        assert!(matches!(large, Err(StateError::Full { .. })), "{large:?}");
        assert_eq!(ids(&state, one).await, [1]);
        assert_eq!(state.queue.depth("flows").await.unwrap(), 1);
        limit_files(None);
        let next = state.log.append(one, first, &append(3, 1000)).await;
        assert!(next.unwrap() > first);
        state
            .queue
            .enqueue("flows", Bytes::from("b"))
            .await
            .unwrap();
        drop(state);
        let state = open(&dir, &options(sync)).await;
        assert_eq!(ids(&state, one).await, [1, 3]);
        assert_eq!(state.queue.depth("flows").await.unwrap(), 2);
    }
}
