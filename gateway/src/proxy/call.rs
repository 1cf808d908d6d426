//! One call's account: begun once, ended once, whatever becomes of it.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use tokio::time::Instant;

use super::GatewayBody;
use crate::functions::{Endpoint, Function, InFlight, Served};
use crate::usage::CostOfCall;

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
    /// Where its caller asks for it, and it is the only call of its replica.
    cost: Option<CostOfCall>,
}

impl Call {
    pub(super) fn begin(function: Arc<Function>) -> Self {
        function.metrics().started();
        Self {
            function,
            begun: Instant::now(),
            code: None,
            replica: None,
            cost: None,
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

    /// Notes what its process took until now, where no other call is in flight there.
    pub(super) fn begin_cost(&mut self, endpoint: &Endpoint) {
        if let Served::Process(pid) = endpoint.served()
            && self.is_alone()
        {
            self.cost = CostOfCall::begin(self.function.account(), pid);
        }
    }

    pub(super) fn has_cost(&self) -> bool {
        self.cost.is_some()
    }

    pub(super) fn forget_cost(&mut self) {
        self.cost = None;
    }

    /// Tells what it cost, where no other call came to its replica meanwhile.
    pub(super) fn end_cost(&mut self, headers: &mut HeaderMap) {
        // First, so that what comes later is not in it.
        let cost = self.cost.take().and_then(CostOfCall::end);
        if let Some(cost) = cost.filter(|_| self.is_alone()) {
            cost.put_on(headers);
        }
    }

    fn is_alone(&self) -> bool {
        self.replica.as_ref().is_some_and(InFlight::is_alone)
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
