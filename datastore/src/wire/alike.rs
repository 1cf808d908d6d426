//! Commands as a connection reads them, and as another parser does: for tests and fuzzers.

use super::parse::{Body, Parsed, Parser, ProtocolError};

/// Commands as they are read from portions, as a connection does: large arguments by their length.
pub(crate) fn read(portions: &[&[u8]]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let (mut parser, mut inbox, mut found) = (Parser::default(), Vec::new(), Vec::new());
    let (mut skip, mut ends) = (0, false);
    for portion in portions {
        inbox.extend_from_slice(portion);
        loop {
            if skip > 0 {
                let place = parser.place();
                let here = (inbox.len() - place).min(skip);
                inbox.drain(place..place + here);
                skip -= here;
                if skip > 0 {
                    break;
                }
                parser.took(Body::Skipped);
                ends = true;
            }
            if ends {
                if !parser.end_of_large(&inbox)? {
                    break;
                }
                ends = false;
            }
            match parser.parse(&inbox)? {
                Parsed::Partial => break,
                Parsed::Large(bytes) => skip = bytes,
                Parsed::Command => {
                    let args = parser.args(&inbox);
                    let word = |n| {
                        args.get(n)
                            .map_or_else(|| b"<large>".to_vec(), <[u8]>::to_vec)
                    };
                    found.push((0..args.len()).map(word).collect());
                    inbox.drain(..parser.finish());
                }
            }
        }
    }
    Ok(found)
}

/// The words of one command and no more, where the client library of Redis reads these bytes as one. It
/// reads replies, of which a list of strings is one.
pub(crate) fn as_redis_reads(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes;
    // It takes what we do not: numbers as Rust reads them, and lines without their whole end.
    let is_plain = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let head = lines.next()?.strip_prefix(b"*")?.strip_suffix(b"\r")?;
    let is_short = head.len() < 6 && (head.len() == 1 || !head.starts_with(b"0"));
    if !is_plain(head) || !is_short {
        return None;
    }
    let value = redis::Parser::new().parse_value(&mut rest).ok()?;
    let redis::Value::Array(words) = value else {
        return None;
    };
    let word = |value| match value {
        redis::Value::BulkString(word) if word.len() <= crate::store::SMALL_MAX => Some(word),
        _ => None,
    };
    let words: Vec<_> = words.into_iter().map(word).collect::<Option<_>>()?;
    // Written again it is what was read, or it was written otherwise than we read it.
    let mut again = format!("*{}\r\n", words.len()).into_bytes();
    for word in &words {
        again.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        again.extend_from_slice(word);
        again.extend_from_slice(b"\r\n");
    }
    (again == bytes).then_some(words)
}
