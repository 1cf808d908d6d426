//! Codes of a fixed length numbered in the order of their first sight.
//!
//! A lookup is one index into a table over all possible codes (capital letters and digits), not
//! a hash: two of them happen in every row of the largest file.

/// Number of different symbols in a code.
const SYMBOLS: usize = 36;

/// Entry of a code that has no number yet.
const UNSEEN: u16 = u16::MAX;

/// Numbers codes of `N` capital letters and digits.
#[derive(Debug)]
pub(crate) struct Dictionary<const N: usize> {
    numbers: Vec<u16>,
    codes: Vec<[u8; N]>,
}

impl<const N: usize> Dictionary<N> {
    pub(crate) fn new() -> Self {
        Self {
            numbers: vec![UNSEEN; SYMBOLS.pow(N as u32)],
            codes: Vec::new(),
        }
    }

    /// Number of a code, which has passed [`crate::row::Row::code`].
    #[inline]
    pub(crate) fn number(&mut self, code: [u8; N]) -> u16 {
        let slot = code
            .iter()
            .fold(0, |slot, &symbol| slot * SYMBOLS + digit(symbol));
        if self.numbers[slot] == UNSEEN {
            // 36^3 codes are fewer than UNSEEN.
            self.numbers[slot] = self.codes.len() as u16;
            self.codes.push(code);
        }
        self.numbers[slot]
    }

    /// For each number of another dictionary the number of the same code in this one.
    pub(crate) fn adopt(&mut self, other: &Self) -> Vec<u16> {
        other.codes.iter().map(|&code| self.number(code)).collect()
    }

    /// The codes by number.
    pub(crate) fn codes(&self) -> Vec<String> {
        self.codes
            .iter()
            .map(|code| String::from_utf8_lossy(code).into_owned())
            .collect()
    }
}

#[inline]
fn digit(symbol: u8) -> usize {
    let digit = if symbol.is_ascii_digit() {
        symbol - b'0'
    } else {
        symbol.wrapping_sub(b'A') + 10
    };
    usize::from(digit) % SYMBOLS
}
