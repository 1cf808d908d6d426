//! Free ports for functions.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// The kernel may offer a port again as soon as it is let go; few tries find another.
const TRIES: usize = 32;

/// Ports given to functions. The kernel picks them; this only sees to it that
/// two functions which start at once do not get the same.
#[derive(Debug, Default)]
pub(super) struct Ports {
    given: Arc<Mutex<HashSet<u16>>>,
}

/// Returned when it is dropped.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    given: Arc<Mutex<HashSet<u16>>>,
}

impl Ports {
    /// A port on 127.0.0.1 that nothing listens on. It is free again by the time
    /// that the function binds it, so another process may yet come first: then
    /// the function fails to start and is given another.
    pub(super) fn pick(&self) -> io::Result<Port> {
        for _ in 0..TRIES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let number = listener.local_addr()?.port();
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            if given.insert(number) {
                let given = Arc::clone(&self.given);
                return Ok(Port { number, given });
            }
        }
        Err(io::Error::from(io::ErrorKind::AddrInUse))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.remove(&self.number);
    }
}
