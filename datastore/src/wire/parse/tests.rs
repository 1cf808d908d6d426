//! Whatever is sent, in whatever portions, is read as it was meant.

mod reference;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

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

/// How somebody types a word.
fn typed(word: &[u8], how: u8) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'*');
    let is_line = |byte: &u8| !matches!(byte, b'\n' | b'\r' | b'\\');
    match how {
        0 if !word.is_empty() && word.iter().all(is_plain) => word.to_vec(),
        1 if word.iter().all(is_line) => {
            let escaped = word.iter().flat_map(|byte| match byte {
                b'\'' => vec![b'\\', b'\''],
                byte => vec![*byte],
            });
            [b"'".to_vec(), escaped.collect(), b"'".to_vec()].concat()
        }
        _ => {
            let escaped = word.iter().flat_map(|byte| match byte {
                b'\n' => b"\\n".to_vec(),
                b'"' => b"\\\"".to_vec(),
                b'\\' => b"\\\\".to_vec(),
                byte if byte.is_ascii_graphic() => vec![*byte],
                byte => format!("\\x{byte:02x}").into_bytes(),
            });
            [b"\"".to_vec(), escaped.collect(), b"\"".to_vec()].concat()
        }
    }
}

/// What is nothing, or an error, or not all.
const ODD: &[&[u8]] = &[
    b"*0\r\n",
    b"*-1\r\n",
    b"*1\n$1\na\r\n",
    b"\r\n",
    b"*1\r\n$-1\r\n",
    b"*01\r\n",
    b"*1\r\n$1\r\nabc",
];

/// A command in either form, right or wrong.
fn any_command() -> impl Strategy<Value = Vec<u8>> {
    let letters = b"ab\"'\\ \t\x0b\x0c\rxn41f\0*$";
    let letter = prop::sample::select(&letters[..]);
    let line = prop::collection::vec(letter, 0..30);
    let places = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3);
    let words = || prop::collection::vec(word(), 0..5);
    let small = || prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5);
    prop_oneof![
        6 => words().prop_map(|words| sent(&words)),
        3 => line.prop_map(|line| [&line[..], b"\r\n"].concat()),
        3 => (small(), any::<[u8; 5]>()).prop_map(|(words, how)| {
            let words = words.iter().zip(how).map(|(word, how)| typed(word, how % 3));
            [&words.collect::<Vec<_>>().join(&b' ')[..], b"\n"].concat()
        }),
        1 => (65_530..65_545_usize).prop_map(|len| [&vec![b'x'; len][..], b"\r\n"].concat()),
        1 => prop::sample::select(ODD).prop_map(<[u8]>::to_vec),
        2 => (words(), places).prop_map(|(words, places)| {
            let mut bytes = sent(&words);
            for (place, byte) in places {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn pipelines_of_any_commands_are_read_as_by_the_plainest_parser_however_they_are_cut(
        commands in prop::collection::vec(any_command(), 1..6),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        left_out in 0..3_usize,
    ) {
        let mut bytes = commands.concat();
        bytes.truncate(bytes.len() - left_out.min(bytes.len()));
        prop_assert_eq!(read(&cut(&bytes, &places)), reference::read(&bytes));
    }

    #[test]
    fn words_are_read_as_they_were_meant_however_they_are_typed(
        words in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), 0..3_u8), 1..6),
    ) {
        let line = words.iter().map(|(word, how)| typed(word, *how)).collect::<Vec<_>>();
        let line = [&line.join(&b' ')[..], b"\r\n"].concat();
        let meant: Vec<_> = words.into_iter().map(|(word, _)| word).collect();
        prop_assert_eq!(&reference::read(&line), &Ok(vec![meant.clone()]));
        prop_assert_eq!(read(&[&line]), Ok(vec![meant]));
    }
}

#[test]
fn the_plainest_parser_reads_what_redis_does() {
    for (line, expect) in [
        (&br#""a\nb" '\n'"#[..], Ok(vec![&b"a\nb"[..], b"\\n"])),
        (br#""\x41\xg" "\"""#, Ok(vec![b"Axg", b"\""])),
        (br#"'a\'b' a"b c""#, Ok(vec![b"a'b", b"ab c"])),
        (b"\"\" a\x0bb \"c\"\x0b", Ok(vec![b"", b"a\x0bb", b"c"])),
        (br#""a"b"#, Err(ProtocolError::Quotes)),
        (br#""a\"#, Err(ProtocolError::Quotes)),
        (b"'a", Err(ProtocolError::Quotes)),
    ] {
        let line = [line, b"\r\n"].concat();
        let expect = expect.map(|words| vec![words.into_iter().map(<[u8]>::to_vec).collect()]);
        assert_eq!(reference::read(&line), expect, "{}", line.escape_ascii());
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
