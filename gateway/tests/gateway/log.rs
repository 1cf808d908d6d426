//! What a gateway logs, for what shows nowhere else.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

thread_local! {
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is logged on this thread, which is all of a test's.
pub(crate) struct Log;

struct ToThread;

impl Log {
    pub(crate) fn of_this_thread() -> Self {
        // One for the process: subscribers that come and go with tests beside this one may leave an
        // event switched off.
        static LISTENS: Once = Once::new();
        LISTENS.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(|| ToThread);
            tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
        });
        Self
    }

    #[allow(clippy::unused_self, reason = "who reads has begun to listen")]
    pub(crate) fn text(&self) -> String {
        WRITTEN.with_borrow(|written| String::from_utf8_lossy(written).into_owned())
    }
}

impl Write for ToThread {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.extend_from_slice(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
