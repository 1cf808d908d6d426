//! A client that shows replies as text: `OK`, `(error) …`, `(nil)`, numbers, `[a, b]`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Says a command; its reply.
    pub(crate) fn say(&mut self, words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        self.call(&words)
    }

    /// The same, of words with spaces between them.
    pub(crate) fn say_all(&mut self, words: &str) -> String {
        self.say(&words.split(' ').collect::<Vec<_>>())
    }

    /// A field of a reply that is a map.
    pub(crate) fn field(&mut self, words: &[&str], name: &str) -> String {
        let all = self.say(words);
        let mut parts = all.trim_matches(['[', ']']).split(", ");
        let found = parts.find(|part| *part == name).and_then(|_| parts.next());
        found
            .unwrap_or_else(|| panic!("{name} is not in {all}"))
            .to_owned()
    }

    pub(crate) fn call(&mut self, words: &[&[u8]]) -> String {
        self.send(&command(words));
        self.reply().expect("the connection stays")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// The same, to a store that may be gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The same connection, to send on while replies are read.
    pub(crate) fn sender(&self) -> TcpStream {
        self.0.get_ref().try_clone().unwrap()
    }

    /// Waits until some of a reply has come, and leaves it.
    pub(crate) fn peek(&mut self) {
        assert!(!self.0.fill_buf().unwrap().is_empty());
    }

    /// The next reply; none where the connection was closed.
    pub(crate) fn reply(&mut self) -> Option<String> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1);
        let count = || rest.parse::<i64>().unwrap();
        Some(match kind {
            "+" | ":" => rest.to_owned(),
            "-" => format!("(error) {rest}"),
            "_" => "(nil)".to_owned(),
            "$" | "=" if rest == "-1" => "(nil)".to_owned(),
            "$" | "=" => {
                let mut bytes = vec![0; count() as usize + 2];
                self.0.read_exact(&mut bytes).ok()?;
                bytes.truncate(bytes.len() - 2);
                String::from_utf8_lossy(&bytes).into_owned()
            }
            "*" => self.list(count())?,
            "%" => self.list(2 * count())?,
            _ => panic!("no reply: {line:?}"),
        })
    }

    fn list(&mut self, count: i64) -> Option<String> {
        let parts: Option<Vec<_>> = (0..count).map(|_| self.reply()).collect();
        Some(format!("[{}]", parts?.join(", ")))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            // Closed with something unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the store closes it within so long.
    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.0.get_ref().set_read_timeout(Some(limit)).unwrap();
        self.is_closed()
    }

    /// Whether the store has closed it.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.line().is_none()
    }
}

/// A command as it is sent.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
