//! What fuzzers feed, and what has to hold whatever they feed. Built with `--cfg fuzzing` alone.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::credential::StepCredential;
use crate::peers::PeerList;
use crate::reference::Reference;
use crate::server::Alone;
use crate::store::{Bounds, Quota};
use crate::wire::alike;

/// What a connection may answer: fuzzers' inputs are small.
const ANSWERED: Duration = Duration::from_secs(10);

/// Commands are the same however they are cut, and those that another parser reads. The first bytes say
/// where they are cut.
pub fn parse(bytes: &[u8]) {
    let Some((cuts, bytes)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let mut places: Vec<_> = cuts
        .iter()
        .map(|cut| usize::from(*cut) * (bytes.len() + 1) / 256)
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let portions = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
    let whole = alike::read(&[bytes]);
    assert_eq!(alike::read(&portions.collect::<Vec<_>>()), whole);
    if let Some(words) = alike::as_redis_reads(bytes) {
        assert_eq!(whole, Ok(vec![words]));
    }
}

/// A connection answers any bytes, ends when its client does, and leaves nothing that no quota counts.
pub fn serve(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let alone = Alone::new(Bounds {
            bytes_max: 4 << 20,
            lease_ms: 1_000,
            quota: Quota {
                soft: 1 << 20,
                hard: 2 << 20,
                flight: 1 << 20,
            },
        });
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let served = tokio::spawn(alone.serve(server));
        let talk = async {
            let (mut from, mut to) = tokio::io::split(&mut client);
            let say = async {
                to.write_all(bytes).await.ok();
                to.shutdown().await.ok();
            };
            let mut answers = Vec::new();
            tokio::join!(say, from.read_to_end(&mut answers)).1.ok();
        };
        let talked = tokio::time::timeout(ANSWERED, talk).await;
        drop(client);
        assert!(
            talked.is_ok(),
            "the connection stays though its client is gone"
        );
        assert!(served.await.is_ok(), "the connection panicked");
        alone.assert_settled();
    });
}

/// What is a text is read as it was written, or refused.
pub fn texts(bytes: &[u8]) {
    let never = StepCredential::verify(bytes, b"secret", 0);
    assert!(never.is_err(), "a credential that nobody signed");
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
    if let Ok(PeerList::Named(names)) = text.parse() {
        let again = names.join(",").parse();
        assert_eq!(again, Ok(PeerList::Named(names)));
    }
}
