//! Commands read in the plainest way: of bytes that are all there, from the first to the last, as Redis
//! tells how it reads them. Nothing of the parser itself is in it but what its errors are called.

use super::super::ProtocolError;
use crate::store::SMALL_MAX;

const LINE_MAX: usize = 65_536;

/// What one command is read as, and what is left; nothing where more must come.
type Read<'a> = Result<Option<(Vec<Vec<u8>>, &'a [u8])>, ProtocolError>;

/// All commands of a pipeline.
pub(super) fn read(mut bytes: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let mut all = Vec::new();
    while let Some((command, rest)) = command(bytes)? {
        all.push(command);
        bytes = rest;
    }
    Ok(all)
}

fn command(bytes: &[u8]) -> Read<'_> {
    let Some((line, rest)) = line(bytes)? else {
        return Ok(None);
    };
    match line {
        [b'*', count @ ..] => array(count, rest),
        typed => Ok(Some((words(typed)?, rest))),
    }
}

/// A line and what comes after it, where it is there.
type Line<'a> = Result<Option<(&'a [u8], &'a [u8])>, ProtocolError>;

fn line(bytes: &[u8]) -> Line<'_> {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (line, rest) = (lines.next().unwrap_or_default(), lines.next());
    if line.len() > LINE_MAX {
        return Err(ProtocolError::Line);
    }
    Ok(rest.map(|rest| (line.strip_suffix(b"\r").unwrap_or(line), rest)))
}

/// A number that is written as numbers are.
fn plain(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn array<'a>(count: &[u8], mut bytes: &'a [u8]) -> Read<'a> {
    let count = plain(count).filter(|count| *count <= 1_048_576);
    let count = count.ok_or(ProtocolError::Arguments)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let Some((head, rest)) = line(bytes)? else {
            return Ok(None);
        };
        let len = match head {
            [b'$', len @ ..] => plain(len).ok_or(ProtocolError::Length)?,
            [other, ..] => return Err(ProtocolError::NoBulk(other.escape_ascii().to_string())),
            [] => return Err(ProtocolError::NoBulk(String::new())),
        };
        let len = usize::try_from(len).map_err(|_| ProtocolError::Length)?;
        let (Some(word), Some(end)) = (rest.get(..len), rest.get(len..len.saturating_add(2)))
        else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(ProtocolError::NoEnd);
        }
        words.push(match len > SMALL_MAX {
            true => b"<large>".to_vec(),
            false => word.to_vec(),
        });
        bytes = &rest[len + 2..];
    }
    Ok(Some((words, bytes)))
}

/// The words of a line that somebody typed.
fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut words = Vec::new();
    let mut rest = line.to_vec();
    loop {
        while matches!(
            rest.first(),
            Some(b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
        ) {
            rest.remove(0);
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let mut word = Vec::new();
        loop {
            match rest.first() {
                None | Some(b' ' | b'\t' | b'\r' | b'\n') => break,
                Some(quote @ (b'"' | b'\'')) => {
                    let (part, after) = quoted(*quote, &rest[1..])?;
                    word.extend(part);
                    rest = after;
                    break;
                }
                Some(_) => word.push(rest.remove(0)),
            }
        }
        words.push(word);
    }
}

/// What stands in quotes, up to those that end it, and what follows.
fn quoted(quote: u8, text: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ProtocolError> {
    let hex = |digit: u8| (digit as char).to_digit(16).map(|digit| digit as u8);
    let mut part = Vec::new();
    let mut n = 0;
    loop {
        let left = text.get(n..).unwrap_or_default();
        let (byte, len) = match (quote, left) {
            (_, []) => return Err(ProtocolError::Quotes),
            (b'"', [b'\\', b'x', a, b, ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                (hex(*a).unwrap() * 16 + hex(*b).unwrap(), 4)
            }
            (b'"', [b'\\', escaped, ..]) => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                };
                (byte, 2)
            }
            (b'\'', [b'\\', b'\'', ..]) => (b'\'', 2),
            (_, [end]) if *end == quote => return Ok((part, Vec::new())),
            (_, [end, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r', ..]) if *end == quote => {
                return Ok((part, left[1..].to_vec()));
            }
            (_, [end, ..]) if *end == quote => return Err(ProtocolError::Quotes),
            (_, [byte, ..]) => (*byte, 1),
        };
        part.push(byte);
        n += len;
    }
}
