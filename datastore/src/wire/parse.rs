//! Commands from bytes that come in any portions. Arguments of up to 16 KiB are read where they lie;
//! larger ones are left to whoever has room for them, before they are read.
//!
//! Invariant: no byte is looked at twice, however a command is cut.

use crate::blob::Blob;
use crate::store::{InFlight, Reserved, SMALL_MAX};

/// As Redis has it.
const ARGUMENTS_MAX: i64 = 1 << 20;
/// What the small arguments of a command may come to.
const COMMAND_BYTES_MAX: usize = 64 << 20;
/// Of somebody who has not said who it is.
const ARGUMENTS_OF_STRANGERS: i64 = 10;
/// A line that is no bulk.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What cannot be read on from: the connection is closed after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    Arguments,
    #[error("Protocol error: unauthenticated multibulk length")]
    Stranger,
    #[error("Protocol error: invalid bulk length")]
    Length,
    #[error("Protocol error: expected '$', got '{0}'")]
    NoBulk(String),
    #[error("Protocol error: too big inline request")]
    Line,
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    #[error("Protocol error: a bulk does not end with CR LF")]
    NoEnd,
    #[error("Protocol error: arguments of up to 16384 bytes come to more than 67108864 bytes")]
    Command,
}

/// How far a command has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// It is there.
    Command,
    /// An argument of so many bytes comes, which is not to be put among the others.
    Large(usize),
    /// More must come.
    Partial,
}

/// An argument: its place among the bytes or among what was typed, or the number of a body.
#[derive(Debug, Clone, Copy)]
enum Part {
    Small(usize, usize),
    Typed(usize, usize),
    Large(usize),
}

/// A large argument.
#[derive(Debug)]
pub(crate) enum Body {
    /// It is here, and what was set aside for it.
    Held {
        blob: Blob,
        reserved: Reserved,
        flight: InFlight,
    },
    /// It was refused, and is skipped.
    Skipped,
}

/// Reads one command after the other.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    parts: Vec<Part>,
    bodies: Vec<Body>,
    /// Words of a line that somebody typed, without their quotes.
    typed: Vec<u8>,
    /// Arguments that are still to come; none before the head of a command.
    left: Option<usize>,
    /// The length of the argument that comes next, once its line was read.
    bulk: Option<usize>,
    /// Up to where was read.
    place: usize,
    /// Up to where the end of a line was looked for.
    looked: usize,
    is_of_stranger: bool,
}

/// The arguments of a command.
#[derive(Debug)]
pub(crate) struct Args<'a> {
    bytes: &'a [u8],
    typed: &'a [u8],
    parts: &'a [Part],
    bodies: &'a mut Vec<Body>,
}

impl Parser {
    /// Whether whoever speaks has not said who it is: it has little to say then.
    pub(crate) const fn set_of_stranger(&mut self, is_of_stranger: bool) {
        self.is_of_stranger = is_of_stranger;
    }

    /// Reads on in what came since the command before.
    pub(crate) fn parse(&mut self, bytes: &[u8]) -> Result<Parsed, ProtocolError> {
        loop {
            let Some(left) = self.left else {
                match self.head(bytes)? {
                    true => continue,
                    false => return Ok(Parsed::Partial),
                }
            };
            if left == 0 && self.bulk.is_none() {
                return Ok(Parsed::Command);
            }
            let Some(len) = self.bulk else {
                let Some(line) = self.line(bytes)? else {
                    return Ok(Parsed::Partial);
                };
                let len = bulk_length(&bytes[line.0..line.1])?;
                self.bulk = Some(len);
                if len > SMALL_MAX {
                    return Ok(Parsed::Large(len));
                }
                continue;
            };
            let end = self.place + len;
            if end > COMMAND_BYTES_MAX {
                return Err(ProtocolError::Command);
            }
            if bytes.len() < end + 2 {
                return Ok(Parsed::Partial);
            }
            self.parts.push(Part::Small(self.place, end));
            self.end(bytes, end)?;
        }
    }

    /// The large argument was taken from the bytes, up to its end.
    pub(crate) fn took(&mut self, body: Body) {
        self.parts.push(Part::Large(self.bodies.len()));
        self.bodies.push(body);
        // What follows is its end, as that of an empty argument would.
        self.bulk = None;
        self.left = self.left.map(|left| left - 1);
    }

    /// Reads the end of a large argument, which was taken; whether it is there.
    pub(crate) fn end_of_large(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        let place = self.place;
        let Some(end) = bytes.get(place..place + 2) else {
            return Ok(false);
        };
        if end != b"\r\n" {
            return Err(ProtocolError::NoEnd);
        }
        self.place += 2;
        self.looked = self.place;
        Ok(true)
    }

    /// Where in the bytes the large argument begins.
    pub(crate) const fn place(&self) -> usize {
        self.place
    }

    /// The command that is there.
    pub(crate) fn args<'a>(&'a mut self, bytes: &'a [u8]) -> Args<'a> {
        Args {
            bytes,
            typed: &self.typed,
            parts: &self.parts,
            bodies: &mut self.bodies,
        }
    }

    /// Ends a command; how many bytes it took.
    pub(crate) fn finish(&mut self) -> usize {
        self.parts.clear();
        self.bodies.clear();
        self.typed.clear();
        self.left = None;
        self.bulk = None;
        self.looked = 0;
        std::mem::take(&mut self.place)
    }

    /// Whether something of a command has come.
    pub(crate) const fn is_within(&self) -> bool {
        self.left.is_some()
    }

    /// Reads the first line of a command; whether it is there.
    fn head(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        let Some((start, end)) = self.line(bytes)? else {
            return Ok(false);
        };
        let line = &bytes[start..end];
        if line.first() == Some(&b'*') {
            let count = number(&line[1..]).ok_or(ProtocolError::Arguments)?;
            if count > ARGUMENTS_MAX {
                return Err(ProtocolError::Arguments);
            }
            if self.is_of_stranger && count > ARGUMENTS_OF_STRANGERS {
                return Err(ProtocolError::Stranger);
            }
            // None, or less, is nothing, as in Redis.
            self.left = Some(usize::try_from(count).unwrap_or(0));
        } else {
            self.inline(line)?;
            self.left = Some(0);
        }
        Ok(true)
    }

    /// A command as a person types it: words, with quotes as Redis has them.
    fn inline(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        let mut rest = skip_space(line);
        while !rest.is_empty() {
            let begin = self.typed.len();
            rest = skip_space(self.word(rest)?);
            self.parts.push(Part::Typed(begin, self.typed.len()));
        }
        Ok(())
    }

    /// A word that is not empty, and what follows it.
    fn word<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], ProtocolError> {
        let mut quote = None;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            match (quote, *byte) {
                (None, b' ' | b'\t' | b'\r') => return Ok(rest),
                (None, b'"' | b'\'') => quote = Some(*byte),
                (Some(b'"'), b'\\') => {
                    let (byte, after) = escaped(rest).ok_or(ProtocolError::Quotes)?;
                    self.typed.push(byte);
                    rest = after;
                }
                (Some(b'\''), b'\\') if rest.first() == Some(&b'\'') => {
                    self.typed.push(b'\'');
                    rest = &rest[1..];
                }
                // Quotes that end are the end of the word.
                (Some(quote), byte) if byte == quote => {
                    let is_end = rest.first().is_none_or(is_space);
                    return is_end.then_some(rest).ok_or(ProtocolError::Quotes);
                }
                (_, byte) => self.typed.push(byte),
            }
        }
        quote.map_or(Ok(rest), |_| Err(ProtocolError::Quotes))
    }

    /// The next line, without its end.
    fn line(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
        let from = self.looked.max(self.place);
        let Some(found) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) else {
            self.looked = bytes.len();
            if bytes.len() - self.place > LINE_BYTES_MAX {
                return Err(ProtocolError::Line);
            }
            return Ok(None);
        };
        let (start, newline) = (self.place, from + found);
        if newline - start > LINE_BYTES_MAX {
            return Err(ProtocolError::Line);
        }
        let end = match bytes[start..newline].last() {
            Some(b'\r') => newline - 1,
            _ => newline,
        };
        self.place = newline + 1;
        self.looked = self.place;
        Ok(Some((start, end)))
    }

    /// The end of an argument.
    fn end(&mut self, bytes: &[u8], end: usize) -> Result<(), ProtocolError> {
        self.place = end;
        self.bulk = None;
        self.left = self.left.map(|left| left - 1);
        self.end_of_large(bytes).map(drop)
    }
}

impl<'a> Args<'a> {
    pub(crate) const fn len(&self) -> usize {
        self.parts.len()
    }

    /// An argument, where it is a small one.
    pub(crate) fn get(&self, n: usize) -> Option<&'a [u8]> {
        match *self.parts.get(n)? {
            Part::Small(start, end) => self.bytes.get(start..end),
            Part::Typed(start, end) => self.typed.get(start..end),
            Part::Large(_) => None,
        }
    }

    /// The name of the command; empty for none.
    pub(crate) fn name(&self) -> &'a [u8] {
        self.get(0).unwrap_or_default()
    }

    /// Takes a large argument out.
    pub(crate) fn body(&mut self, n: usize) -> Option<Body> {
        match *self.parts.get(n)? {
            Part::Small(..) | Part::Typed(..) => None,
            Part::Large(at) => Some(std::mem::replace(&mut self.bodies[at], Body::Skipped)),
        }
    }
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_space(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_space(byte));
    &line[start.unwrap_or(line.len())..]
}

/// The byte that stands after a backslash in double quotes, and what follows.
fn escaped(rest: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if let [b'x', high, low, after @ ..] = rest
        && let (Some(high), Some(low)) = (digit(*high), digit(*low))
    {
        return Some(((high * 16 + low) as u8, after));
    }
    let (byte, after) = rest.split_first()?;
    let byte = match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => *other,
    };
    Some((byte, after))
}

fn bulk_length(line: &[u8]) -> Result<usize, ProtocolError> {
    match line.split_first() {
        Some((b'$', digits)) => {
            let len = number(digits).ok_or(ProtocolError::Length)?;
            usize::try_from(len).map_err(|_| ProtocolError::Length)
        }
        Some((other, _)) => Err(ProtocolError::NoBulk(other.escape_ascii().to_string())),
        None => Err(ProtocolError::NoBulk(String::new())),
    }
}

/// A whole number as Redis writes it.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_plain = digits.len() == 1 || digits.first() != Some(&b'0');
    if digits.is_empty() || !is_plain || text == b"-0" {
        return None;
    }
    // Downwards, where there is one more.
    let below = digits.iter().try_fold(0_i64, |below, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        below.checked_mul(10)?.checked_sub(digit)
    })?;
    if digits.len() < text.len() {
        return Some(below);
    }
    below.checked_neg()
}

#[cfg(test)]
mod tests;
