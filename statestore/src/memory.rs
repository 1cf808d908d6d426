//! The log in memory: gone with its process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::watch;
use turlough_sdk::RequestId;

use crate::append::{Append, AppendError, Record, Seq};

/// Locks that the requests are spread over; several times the cores of a large machine.
const SHARDS: usize = 64;

/// Logs of requests, in memory.
#[derive(Debug)]
pub struct MemoryLog {
    shards: Vec<Mutex<HashMap<RequestId, Log>>>,
    last: AtomicU64,
    held: AtomicU64,
}

#[derive(Debug)]
struct Log {
    records: Vec<(Seq, Bytes)>,
    tail: watch::Sender<Seq>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            last: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }
}

impl MemoryLog {
    /// Appends at `expected`, [`Seq::START`] for a new log, and returns the append's place.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] where the log ends elsewhere; what is too large.
    pub async fn append(
        &self,
        request: RequestId,
        expected: Seq,
        append: &Append,
    ) -> Result<Seq, AppendError> {
        let encoded = Bytes::from(append.encode(request)?);
        let mut logs = self.shard(request);
        let last = logs.get(&request).map_or(Seq::START, Log::last);
        if last != expected {
            return Err(AppendError::Conflict {
                request,
                expected,
                last,
            });
        }
        let seq = Seq(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let log = logs.entry(request).or_insert_with(|| Log {
            records: Vec::new(),
            tail: watch::Sender::new(Seq::START),
        });
        self.held.fetch_add(encoded.len() as u64, Ordering::Relaxed);
        log.records.push((seq, encoded));
        log.tail.send_replace(seq);
        Ok(seq)
    }

    /// What stands after `after`, in order; nothing for a log that does not exist.
    ///
    /// # Errors
    /// A record of a newer version.
    pub async fn read(&self, request: RequestId, after: Seq) -> Result<Vec<Record>, AppendError> {
        let records = {
            let logs = self.shard(request);
            let Some(log) = logs.get(&request) else {
                return Ok(Vec::new());
            };
            let from = log.records.partition_point(|(seq, _)| *seq <= after);
            log.records[from..].to_vec()
        };
        let decode = |(seq, bytes): (Seq, Bytes)| {
            Ok(Record {
                seq,
                append: Append::decode(request, seq, &bytes)?,
            })
        };
        records.into_iter().map(decode).collect()
    }

    /// The last append; nothing for a log that does not exist.
    ///
    /// # Errors
    /// A record of a newer version.
    pub async fn last(&self, request: RequestId) -> Result<Option<Record>, AppendError> {
        let last = {
            let logs = self.shard(request);
            logs.get(&request)
                .and_then(|log| log.records.last().cloned())
        };
        let decode = |(seq, bytes): (Seq, Bytes)| {
            let append = Append::decode(request, seq, &bytes)?;
            Ok(Record { seq, append })
        };
        last.map(decode).transpose()
    }

    /// Where the log ends, now and whenever it grows; none where there is no log. The channel closes
    /// when the log expires.
    #[must_use]
    pub fn tail(&self, request: RequestId) -> Option<watch::Receiver<Seq>> {
        self.shard(request)
            .get(&request)
            .map(|log| log.tail.subscribe())
    }

    /// Size of a log in bytes.
    #[must_use]
    pub fn bytes(&self, request: RequestId) -> u64 {
        self.shard(request).get(&request).map_or(0, Log::bytes)
    }

    /// Size of all logs in bytes.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Forgets a log.
    pub fn expire(&self, request: RequestId) {
        let log = self.shard(request).remove(&request);
        self.held
            .fetch_sub(log.map_or(0, |log| log.bytes()), Ordering::Relaxed);
    }

    fn shard(&self, request: RequestId) -> std::sync::MutexGuard<'_, HashMap<RequestId, Log>> {
        // The low bits of a UUIDv7 are random.
        let ix = request.as_uuid().as_u128() as usize % self.shards.len();
        self.shards[ix]
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Log {
    fn bytes(&self) -> u64 {
        self.records
            .iter()
            .map(|(_, bytes)| bytes.len() as u64)
            .sum()
    }

    fn last(&self) -> Seq {
        self.records.last().map_or(Seq::START, |(seq, _)| *seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::{AppendId, Envelope, Kind};
    use crate::event::Event;
    use std::sync::Arc;
    use turlough_sdk::ReplicaId;

    fn request(number: u128) -> RequestId {
        RequestId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn append(id: u128) -> Append {
        let envelope = Envelope {
            id: AppendId(id),
            after: None,
            kind: Kind::External,
            epoch: 0,
            replica: ReplicaId::from_uuid(uuid::Uuid::from_u128(1)),
            function: "flows".parse().unwrap(),
            generation: 0,
            deadline_us: None,
            wake_at_us: Some(5),
        };
        Append::new(envelope, vec![Event::CancelAsked { at_us: 7 }])
    }

    #[tokio::test]
    async fn reads_back_what_was_appended_after_a_place() {
        let log = MemoryLog::default();
        let first = log
            .append(request(1), Seq::START, &append(10))
            .await
            .unwrap();
        log.append(request(2), Seq::START, &append(11))
            .await
            .unwrap();
        let second = log.append(request(1), first, &append(12)).await.unwrap();
        let all = log.read(request(1), Seq::START).await.unwrap();
        assert_eq!(
            all.iter()
                .map(|r| r.append.envelope.id.0)
                .collect::<Vec<_>>(),
            [10, 12]
        );
        assert_eq!(
            all[1],
            Record {
                seq: second,
                append: append(12)
            }
        );
        assert_eq!(log.read(request(1), first).await.unwrap().len(), 1);
        assert_eq!(log.last(request(1)).await.unwrap().as_ref(), all.last());
        assert_eq!(log.last(request(3)).await.unwrap(), None);
        assert_eq!(*log.tail(request(1)).unwrap().borrow(), second);
        assert_eq!(log.held(), log.bytes(request(1)) + log.bytes(request(2)));
        log.expire(request(1));
        assert_eq!(log.held(), log.bytes(request(2)));
        assert!(log.read(request(1), Seq::START).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn of_many_appenders_at_one_sequence_exactly_one_wins() {
        let log = Arc::new(MemoryLog::default());
        let first = log
            .append(request(1), Seq::START, &append(0))
            .await
            .unwrap();
        let racers = (1..=64).map(|id| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { log.append(request(1), first, &append(id)).await })
        });
        let mut won = 0;
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.unwrap() {
                Ok(_) => won += 1,
                Err(AppendError::Conflict { expected, last, .. }) => assert!(last > expected),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
        assert_eq!(log.read(request(1), first).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_append_over_the_limit_is_refused_and_leaves_nothing() {
        let log = MemoryLog::default();
        let mut large = append(1);
        large.events = vec![Event::part(1, 0, &Bytes::from(vec![0; 600 * 1024]))];
        let error = log
            .append(request(1), Seq::START, &large)
            .await
            .unwrap_err();
        assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
        assert!(log.tail(request(1)).is_none());
    }

    #[test]
    fn a_log_of_a_newer_version_is_refused_by_name() {
        let mut bytes = append(1).encode(request(1)).unwrap();
        let at = bytes
            .windows(6)
            .position(|window| window == b"format")
            .unwrap();
        bytes[at + 6] = 9;
        let error = Append::decode(request(1), Seq(1), &bytes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("format 9, this version reads up to 1"),
            "{error}"
        );
    }
}
