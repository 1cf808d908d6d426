//! One call's account: begun once, ended once, whatever becomes of it.

use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::GatewayBody;
use crate::functions::{Endpoint, Function, InFlight};

/// The status that is counted where the caller left before there was one
/// (nginx's convention; it is never sent).
const CALLER_GONE: u16 = 499;

/// Counts and times a call when it is dropped.
#[derive(Debug)]
pub(super) struct Call {
    function: Arc<Function>,
    begun: Instant,
    code: Option<StatusCode>,
    /// Where it is in flight.
    replica: Option<InFlight>,
}

impl Call {
    pub(super) fn begin(function: Arc<Function>) -> Self {
        function.metrics().started();
        Self {
            function,
            begun: Instant::now(),
            code: None,
            replica: None,
        }
    }

    /// Counts for a replica from now on, until it ends.
    pub(super) fn goes_to(&mut self, replica: InFlight) -> Arc<Endpoint> {
        let endpoint = replica.endpoint();
        self.replica = Some(replica);
        endpoint
    }

    pub(super) fn function(&self) -> &Function {
        &self.function
    }

    /// Ends with the function's own response, once its body has passed.
    pub(super) fn pass(self, response: Response<Incoming>) -> Response<GatewayBody> {
        self.answer(response.map(GatewayBody::function))
    }

    /// Ends with a response, once its body has been sent.
    pub(super) fn answer(mut self, response: Response<GatewayBody>) -> Response<GatewayBody> {
        self.code = Some(response.status());
        response.map(|body| body.ending(self))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let gone = || StatusCode::from_u16(CALLER_GONE).unwrap_or(StatusCode::REQUEST_TIMEOUT);
        self.function
            .metrics()
            .ended(self.code.unwrap_or_else(gone), self.begun.elapsed());
        self.function.count_invocation();
    }
}
