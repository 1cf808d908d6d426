//! Columns of small integers, packed for the road between two steps.
//!
//! A column is one MessagePack byte string of little-endian cells, so that encoding and decoding
//! it is one copy whatever the number of rows. Measured on one column of all 337 thousand flights:
//! encoded and decoded in 0.3 ms against 4.6 ms for a `Vec<Option<i16>>`, for twice the bytes
//! (674 kB against 347 kB); `examples/bare.rs` measures it again.

use std::fmt;
use std::marker::PhantomData;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value of a fixed width.
pub trait Cell: Copy {
    /// Bytes of a cell.
    const WIDTH: usize;

    /// Appends the cell.
    fn put(self, bytes: &mut Vec<u8>);

    /// Reads a cell of [`Cell::WIDTH`] bytes.
    fn get(bytes: &[u8]) -> Self;
}

impl Cell for u8 {
    const WIDTH: usize = 1;

    fn put(self, bytes: &mut Vec<u8>) {
        bytes.push(self);
    }

    fn get(bytes: &[u8]) -> Self {
        bytes[0]
    }
}

impl Cell for u16 {
    const WIDTH: usize = 2;

    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn get(bytes: &[u8]) -> Self {
        Self::from_le_bytes([bytes[0], bytes[1]])
    }
}

/// Null is the smallest value, which no column of the data set can hold.
impl Cell for Option<i16> {
    const WIDTH: usize = 2;

    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.unwrap_or(i16::MIN).to_le_bytes());
    }

    fn get(bytes: &[u8]) -> Self {
        let value = i16::from_le_bytes([bytes[0], bytes[1]]);
        (value != i16::MIN).then_some(value)
    }
}

/// Cells one after the other.
#[derive(Clone, PartialEq, Eq)]
pub struct Column<T> {
    bytes: Vec<u8>,
    cells: PhantomData<T>,
}

impl<T: Cell> Column<T> {
    /// An empty column.
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            cells: PhantomData,
        }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.bytes.len() / T::WIDTH
    }

    /// Whether there are no cells.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The cells in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        self.bytes.chunks_exact(T::WIDTH).map(T::get)
    }

    /// Appends a cell.
    #[inline]
    pub fn push(&mut self, cell: T) {
        cell.put(&mut self.bytes);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        if self.bytes.is_empty() {
            *self = other;
        } else {
            self.bytes.append(&mut other.bytes);
        }
    }
}

impl<T: Cell> Default for Column<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Cell> FromIterator<T> for Column<T> {
    fn from_iter<I: IntoIterator<Item = T>>(cells: I) -> Self {
        let cells = cells.into_iter();
        let mut bytes = Vec::with_capacity(cells.size_hint().0 * T::WIDTH);
        cells.for_each(|cell| cell.put(&mut bytes));
        Self {
            bytes,
            cells: PhantomData,
        }
    }
}

impl<T: Cell + fmt::Debug> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: Cell> Serialize for Column<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de, T: Cell> Deserialize<'de> for Column<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec();
        if bytes.len() % T::WIDTH == 0 {
            return Ok(Self {
                bytes,
                cells: PhantomData,
            });
        }
        Err(D::Error::custom(format_args!(
            "column is {} bytes, expected a multiple of {}",
            bytes.len(),
            T::WIDTH
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_survive_message_pack() {
        let column: Column<Option<i16>> =
            [Some(-86), None, Some(1301), Some(0)].into_iter().collect();
        let bytes = rmp_serde::to_vec_named(&column).unwrap();
        assert_eq!(bytes.len(), 2 + 4 * 2);
        assert_eq!(
            rmp_serde::from_slice::<Column<Option<i16>>>(&bytes).unwrap(),
            column
        );
    }

    #[test]
    fn half_a_cell_is_refused() {
        let bytes = rmp_serde::to_vec_named(serde_bytes::Bytes::new(&[1, 2, 3])).unwrap();
        let error = rmp_serde::from_slice::<Column<u16>>(&bytes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("column is 3 bytes, expected a multiple of 2"),
            "{error}"
        );
    }
}
