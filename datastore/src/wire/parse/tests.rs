//! Whatever is sent, in whatever portions, is read as it was meant.

use proptest::prelude::*;

use super::*;
use crate::wire::alike::{as_redis_reads, read};

/// A command as it is sent.
fn sent(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places.iter().map(|at| at.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .collect()
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (SMALL_MAX - 2..SMALL_MAX + 3).prop_map(|len| vec![b'x'; len]),
        1 => Just(vec![b'\n'; 40_000]),
    ]
}

proptest! {
    #[test]
    fn commands_are_read_as_they_were_sent_however_they_are_cut(
        commands in prop::collection::vec(prop::collection::vec(word(), 1..6), 1..8),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| sent(words)).collect();
        let read = read(&cut(&bytes, &places)).unwrap();
        let meant = |word: &Vec<u8>| match word.len() > SMALL_MAX {
            true => b"<large>".to_vec(),
            false => word.clone(),
        };
        let meant: Vec<Vec<_>> = commands
            .iter()
            .map(|words| words.iter().map(meant).collect())
            .collect();
        prop_assert_eq!(read, meant);
    }

    #[test]
    fn any_bytes_are_commands_or_an_error_and_the_same_however_they_are_cut(
        bytes in prop::collection::vec(
            prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'2'), Just(b'"'), any::<u8>()],
            0..300,
        ),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        prop_assert_eq!(read(&cut(&bytes, &places)), read(&[&bytes]));
    }
}

proptest! {
    #[test]
    fn what_another_parser_reads_as_one_command_is_that_command(
        words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = sent(&words);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(words) = as_redis_reads(&bytes) {
            prop_assert_eq!(read(&[&bytes]), Ok(vec![words]));
        }
    }
}

#[test]
fn another_parser_reads_what_was_sent() {
    let words = vec![b"SET".to_vec(), b"a\r\n".to_vec(), Vec::new()];
    assert_eq!(as_redis_reads(&sent(&words)), Some(words));
    assert_eq!(as_redis_reads(b"*1\r\n$3\r\nPING\r\n"), None);
}

#[test]
fn numbers_are_those_of_redis() {
    for (text, expect) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("", None),
        ("-", None),
        ("+1", None),
        ("01", None),
        ("-0", None),
        ("1 ", None),
        ("1.0", None),
    ] {
        assert_eq!(number(text.as_bytes()), expect, "{text:?}");
    }
}
