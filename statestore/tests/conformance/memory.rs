//! The backend in memory.

use std::sync::Arc;

use async_trait::async_trait;
use turlough_statestore::{MemoryLog, Options, Seq, State};

use crate::server::Server;

pub(crate) struct Memory {
    state: State,
    log: MemoryLog,
    mark: Seq,
}

#[async_trait]
impl Server for Memory {
    async fn start_with(options: Options) -> Self {
        let log = MemoryLog::new(options.bytes_max);
        let state = State {
            log: Arc::new(log.clone()),
            ..State::in_memory(&options)
        };
        Self {
            state,
            log,
            mark: Seq::START,
        }
    }

    async fn open(&self) -> State {
        self.state.clone()
    }

    async fn crash(&mut self) -> bool {
        false
    }

    async fn mark(&mut self) {
        self.mark = self.log.last_place();
    }

    async fn lose(&mut self) {
        self.log.lose_after(self.mark);
    }

    async fn expire(&mut self, to: Seq) {
        self.log.expire_to(to);
    }
}
