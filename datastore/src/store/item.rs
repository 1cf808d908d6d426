//! A key and its value, as small as they can lie: a small one is a single allocation.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use indexmap::Equivalent;
use turlough_sdk::Digest;

use crate::blob::Blob;
use crate::spill::Spilled;

/// Values of more bytes lie in extents of the pool.
pub(crate) const SMALL_MAX: usize = 16 << 10;
/// What a key takes beside its name and its value, about.
pub(crate) const OVERHEAD: u64 = 64;

/// The head of a small item: the length of its name, and whether a time follows.
const HEAD: usize = 2;
const EXPIRES: u16 = 1 << 15;
const TIME: usize = 8;

/// A name within its bucket, with its value.
#[derive(Debug)]
pub(crate) enum Item {
    /// Head, time, name, value.
    Small(Box<[u8]>),
    Large(Box<Large>),
}

#[derive(Debug)]
pub(crate) struct Large {
    name: Box<[u8]>,
    expires_ms: Option<u64>,
    lies: Lies,
}

/// Where a large value lies.
#[derive(Debug, Clone)]
enum Lies {
    Here(Arc<Blob>),
    OnDisk(Arc<Spilled>),
}

/// The value lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("value was moved to disk this moment; ask again")]
pub(crate) struct Away;

/// A value that comes.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Small(&'a [u8]),
    Large(Arc<Blob>),
    Away(Arc<Spilled>),
}

/// A value that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held<'a> {
    Small(&'a [u8]),
    Large(&'a Arc<Blob>),
    /// On disk, from where it is brought back before it is read.
    Away(&'a Arc<Spilled>),
}

impl Value<'_> {
    pub(crate) fn len(&self) -> usize {
        self.held().len()
    }

    pub(crate) const fn held(&self) -> Held<'_> {
        match self {
            Self::Small(bytes) => Held::Small(bytes),
            Self::Large(blob) => Held::Large(blob),
            Self::Away(spilled) => Held::Away(spilled),
        }
    }
}

impl Held<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(blob) => blob.len(),
            Self::Away(spilled) => spilled.len(),
        }
    }

    pub(crate) fn copy_to(self, all: &mut Vec<u8>) -> Result<(), Away> {
        match self {
            Self::Small(bytes) => all.extend_from_slice(bytes),
            Self::Large(blob) => blob
                .slices(0..blob.len())
                .for_each(|it| all.extend_from_slice(it)),
            Self::Away(_) => return Err(Away),
        }
        Ok(())
    }

    pub(crate) fn digest(self) -> Digest {
        match self {
            Self::Small(bytes) => Digest::of(bytes),
            Self::Large(blob) => blob.digest(),
            Self::Away(spilled) => spilled.digest(),
        }
    }
}

impl Item {
    /// `name` is at most 512 bytes.
    pub(crate) fn new(name: &[u8], value: Value<'_>, expires_ms: Option<u64>) -> Self {
        match value {
            Value::Small(bytes) => {
                let time = if expires_ms.is_some() { TIME } else { 0 };
                let mut all = Vec::with_capacity(HEAD + time + name.len() + bytes.len());
                let flag = if expires_ms.is_some() { EXPIRES } else { 0 };
                let head = u16::try_from(name.len()).unwrap_or_default() | flag;
                all.extend_from_slice(&head.to_le_bytes());
                if let Some(at_ms) = expires_ms {
                    all.extend_from_slice(&at_ms.to_le_bytes());
                }
                all.extend_from_slice(name);
                all.extend_from_slice(bytes);
                Self::Small(all.into_boxed_slice())
            }
            Value::Large(blob) => Self::large(name, expires_ms, Lies::Here(blob)),
            Value::Away(spilled) => Self::large(name, expires_ms, Lies::OnDisk(spilled)),
        }
    }

    fn large(name: &[u8], expires_ms: Option<u64>, lies: Lies) -> Self {
        let name = name.into();
        Self::Large(Box::new(Large {
            name,
            expires_ms,
            lies,
        }))
    }

    pub(crate) fn name(&self) -> &[u8] {
        match self {
            Self::Small(all) => {
                let (time, name) = parts(all);
                &all[HEAD + time..HEAD + time + name]
            }
            Self::Large(large) => &large.name,
        }
    }

    pub(crate) fn value(&self) -> Held<'_> {
        match self {
            Self::Small(all) => {
                let (time, name) = parts(all);
                Held::Small(&all[HEAD + time + name..])
            }
            Self::Large(large) => match &large.lies {
                Lies::Here(blob) => Held::Large(blob),
                Lies::OnDisk(spilled) => Held::Away(spilled),
            },
        }
    }

    /// When it goes by itself, in the store's time.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        match self {
            Self::Small(all) if parts(all).0 > 0 => {
                let time = all[HEAD..HEAD + TIME].try_into().ok()?;
                Some(u64::from_le_bytes(time))
            }
            Self::Small(_) => None,
            Self::Large(large) => large.expires_ms,
        }
    }

    /// The same, with another time.
    pub(crate) fn expiring(&self, expires_ms: Option<u64>) -> Self {
        let value = match self.value() {
            Held::Small(bytes) => Value::Small(bytes),
            Held::Large(blob) => Value::Large(Arc::clone(blob)),
            Held::Away(spilled) => Value::Away(Arc::clone(spilled)),
        };
        Self::new(self.name(), value, expires_ms)
    }

    /// The same, with its value elsewhere.
    pub(crate) fn lying(&self, value: Value<'_>) -> Self {
        Self::new(self.name(), value, self.expires_ms())
    }

    /// What of it lies on disk, in bytes.
    pub(crate) fn away(&self) -> u64 {
        match self.value() {
            Held::Away(spilled) => spilled.len() as u64,
            Held::Small(_) | Held::Large(_) => 0,
        }
    }

    /// What it counts for, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        cost(self.name().len(), self.value().len())
    }
}

/// What a key and its value count for, in bytes.
pub(crate) const fn cost(name: usize, value: usize) -> u64 {
    name as u64 + value as u64 + OVERHEAD
}

/// The lengths of the time and of the name.
fn parts(all: &[u8]) -> (usize, usize) {
    let head = u16::from_le_bytes([all[0], all[1]]);
    let time = if head & EXPIRES == 0 { 0 } else { TIME };
    (time, (head & !EXPIRES) as usize)
}

// Items of a bucket are found by their names.
impl Hash for Item {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Item {}

impl Equivalent<Item> for [u8] {
    fn equivalent(&self, item: &Item) -> bool {
        self == item.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_item_is_what_it_was_made_of() {
        for (name, value, expires_ms) in [
            (&b"a"[..], &b"1"[..], None),
            (b"", b"", Some(7)),
            (&[9; 512], &[1; 3_000], Some(u64::MAX)),
        ] {
            let item = Item::new(name, Value::Small(value), expires_ms);
            assert_eq!(item.name(), name);
            assert!(matches!(item.value(), Held::Small(held) if held == value));
            assert_eq!(item.expires_ms(), expires_ms);
            assert_eq!(item.expiring(None).expires_ms(), None);
        }
        assert_eq!(size_of::<Item>(), 16);
    }
}
