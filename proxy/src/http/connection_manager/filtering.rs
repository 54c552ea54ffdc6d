//! Filters before the router, one after the other, each waiting for what it waits for.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::exchange::Exchange;
use super::local_reply::LocalReply;
use crate::http::filter::{Step, Stop};
use crate::http::stream::Downstream;
use crate::route::{Forward, RouteFilters};

impl Exchange {
    /// `route` is what the request's route says to filters, and `forward` where it leads to, if anywhere.
    ///
    /// # Errors
    /// The request goes no further; holds the answer if it is still to be given.
    pub(super) async fn run_filters(
        &mut self,
        downstream: &mut Downstream,
        forward: Option<&Forward>,
        route: Option<&RouteFilters>,
    ) -> Result<(), Option<LocalReply>> {
        let context = Rc::clone(&self.context);
        for index in 0..context.hcm.filters.len() {
            let Some(filter) = context.hcm.filters.get(index) else {
                break;
            };
            match filter.on_request(self, route) {
                Step::Continue => {}
                step => self.take(step, downstream, forward).await?,
            }
        }
        Ok(())
    }

    /// Does what a filter wants done.
    async fn take(
        &mut self,
        step: Step,
        downstream: &mut Downstream,
        forward: Option<&Forward>,
    ) -> Result<(), Option<LocalReply>> {
        let stop = match step {
            Step::Continue => return Ok(()),
            Step::Reply(reply) => Stop::Reply(reply),
            Step::Answer(head) => {
                self.response = head;
                self.send_response(downstream, Bytes::new()).await;
                return Err(None);
            }
            Step::Wait(delay, reply) => match (wait(downstream, delay).await, reply) {
                (false, _) => Stop::ClientGone,
                (true, None) => return Ok(()),
                (true, Some(reply)) => Stop::Reply(reply),
            },
            // On the heap, because most requests should not carry the state of waiting for a body.
            Step::Buffer(buffer) => {
                match Box::pin(buffer.receive(self, downstream, forward)).await {
                    Ok(()) => return Ok(()),
                    Err(stop) => stop,
                }
            }
        };
        match stop {
            Stop::Reply(reply) => Err(Some(reply)),
            Stop::ClientGone => {
                self.client_gone(downstream);
                Err(None)
            }
        }
    }
}

/// Waits while the client stays; `false` when it left.
async fn wait(downstream: &mut Downstream, delay: Duration) -> bool {
    let mut sleep = std::pin::pin!(tokio::time::sleep(delay));
    poll_fn(|cx| {
        if sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        if downstream.is_request_done() && downstream.poll_closed(cx).is_ready() {
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await
}
