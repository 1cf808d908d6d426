//! Connections to a nats-server of a test.

use turlough_statestore::{Options, State, StateError, StateUrl};
pub(crate) use turlough_testing::Nats as Process;

/// How a test comes to a server's state.
pub(crate) trait Opens {
    async fn open(&self, options: &Options) -> Result<State, StateError>;

    /// A connection as `user:password@`.
    async fn open_as(&self, user: &str, options: &Options) -> Result<State, StateError>;
}

impl Opens for Process {
    async fn open(&self, options: &Options) -> Result<State, StateError> {
        self.open_as("", options).await
    }

    async fn open_as(&self, user: &str, options: &Options) -> Result<State, StateError> {
        let url = self.url().replace("//", &format!("//{user}"));
        let url: StateUrl = url.parse().unwrap();
        State::open(&url, options).await
    }
}
