//! Writes an envelope around a body that is still coming.

use bytes::{BufMut, BytesMut};

use super::{ContentType, Producer, Value};

/// Collects a body of unknown length into an envelope, without a second copy.
#[derive(Debug)]
pub struct ValueWriter {
    buffer: BytesMut,
    content_type: ContentType,
    producer: Producer,
    body_at: usize,
}

impl ValueWriter {
    /// Starts an envelope with room for a body of about `body_bytes`.
    #[must_use]
    pub fn new(content_type: ContentType, producer: Producer, body_bytes: usize) -> Self {
        let text = content_type.as_str().as_bytes();
        let mut buffer = BytesMut::with_capacity(text.len() + 10 + body_bytes);
        buffer.put_u8(0x93);
        buffer.put_u8(0xd9);
        buffer.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
        buffer.put_slice(text);
        buffer.put_u8(producer as u8);
        buffer.put_u8(0xc6);
        buffer.put_u32(0);
        let body_at = buffer.len();
        Self {
            buffer,
            content_type,
            producer,
            body_at,
        }
    }

    /// Adds bytes to the body.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Bytes of the body so far.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.buffer.len() - self.body_at
    }

    /// Ends the body. Bodies are bounded far below 4 GiB by `TURLOUGH_BODY_BYTES_MAX`.
    #[must_use]
    pub fn finish(mut self) -> Value {
        let size = u32::try_from(self.body_bytes()).unwrap_or(u32::MAX);
        self.buffer[self.body_at - 4..self.body_at].copy_from_slice(&size.to_be_bytes());
        Value {
            envelope: self.buffer.freeze(),
            content_type: self.content_type,
            producer: self.producer,
            body_at: self.body_at,
        }
    }
}

impl std::io::Write for ValueWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
