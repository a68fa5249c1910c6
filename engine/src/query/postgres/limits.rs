//! How long a statement may take.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion_postgres::DfSessionService;
use datafusion_postgres::pgwire::api::portal::Portal;
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::Response;
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use futures::{Sink, StreamExt};

/// A statement that worked for longer is ended, unless its client asked for less. Waiting for the client to take rows does not count.
pub const STATEMENT_SECONDS_MAX: u64 = 300;

/// A statement that keeps a thread for longer at one go is planning something that grows without end, and cannot be ended alone.
pub const STUCK_AFTER: Duration = Duration::from_secs(20);

/// Where the library keeps what a client set with `SET statement_timeout`.
const STATEMENT_TIMEOUT: &str = "statement_timeout_ms";

/// Answers as the library does, and no longer than a statement may take.
pub(super) struct Limited(pub Arc<DfSessionService>);

#[async_trait]
impl SimpleQueryHandler for Limited {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut left = allowed(client);
        let answer = SimpleQueryHandler::do_query(&*self.0, client, query);
        let responses = within(&mut left, answer).await??;
        Ok(responses.into_iter().map(|response| limited(response, left)).collect())
    }
}

#[async_trait]
impl ExtendedQueryHandler for Limited {
    type Statement = <DfSessionService as ExtendedQueryHandler>::Statement;
    type QueryParser = <DfSessionService as ExtendedQueryHandler>::QueryParser;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        self.0.query_parser()
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Self::Statement>,
        max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Self::Statement>,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut left = allowed(client);
        let answer = ExtendedQueryHandler::do_query(&*self.0, client, portal, max_rows);
        let response = within(&mut left, answer).await??;
        Ok(limited(response, left))
    }
}

fn allowed(client: &impl ClientInfo) -> Duration {
    let most = Duration::from_secs(STATEMENT_SECONDS_MAX);
    let asked = client.metadata().get(STATEMENT_TIMEOUT);
    let asked = asked.and_then(|milliseconds| milliseconds.parse().ok());
    asked.map_or(most, |milliseconds| most.min(Duration::from_millis(milliseconds)))
}

/// What `work` gives, if it does within `left`, which it takes from.
async fn within<T>(left: &mut Duration, work: impl Future<Output = T>) -> PgWireResult<T> {
    let began = Instant::now();
    let result = tokio::time::timeout(*left, work).await.map_err(|_| timed_out());
    *left = left.saturating_sub(began.elapsed());
    result
}

fn limited(response: Response, left: Duration) -> Response {
    let Response::Query(mut rows) = response else {
        return response;
    };
    let stream = futures::stream::unfold(Some((rows.data_rows, left)), |state| async move {
        let (mut rows, mut left) = state?;
        match within(&mut left, rows.next()).await {
            Ok(row) => row.map(|row| (row, Some((rows, left)))),
            Err(error) => Some((Err(error), None)),
        }
    });
    rows.data_rows = Box::pin(stream);
    Response::Query(rows)
}

fn timed_out() -> PgWireError {
    let message = format!(
        "the statement took too long and was ended: `SET statement_timeout` allows at most {STATEMENT_SECONDS_MAX}s"
    );
    // 57014 is query_canceled.
    let error = ErrorInfo::new("ERROR".to_string(), "57014".to_string(), message);
    PgWireError::UserError(Box::new(error))
}

/// Knows which clients keep a thread, and since when.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<u64, Instant>>>);

impl Turns {
    /// `future`, watched under a number of its own.
    pub fn watch<F: Future>(&self, number: u64, future: F) -> Watched<F> {
        Watched {
            turns: self.clone(),
            number,
            future: Box::pin(future),
        }
    }

    /// Whether a turn takes longer than `limit`.
    pub fn stuck(&self, limit: Duration) -> bool {
        self.with(|turns| turns.values().any(|began| began.elapsed() > limit))
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<u64, Instant>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Watched<F> {
    turns: Turns,
    number: u64,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let number = self.number;
        self.turns.with(|turns| turns.insert(number, Instant::now()));
        let result = self.future.as_mut().poll(context);
        self.turns.with(|turns| turns.remove(&number));
        result
    }
}

impl<F> Drop for Watched<F> {
    /// After a panic too.
    fn drop(&mut self) {
        self.turns.with(|turns| turns.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_turn_that_takes_long_is_seen_and_waiting_is_none() {
        let turns = Turns::default();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::spawn(turns.watch(1, async move { wait.recv() }));
        let waiting = tokio::spawn(turns.watch(2, tokio::time::sleep(Duration::from_secs(3600))));
        while !turns.stuck(Duration::from_millis(20)) {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert!(!turns.stuck(Duration::ZERO));
        waiting.abort();
    }

    #[tokio::test]
    async fn rows_that_do_not_come_in_time_are_an_error() {
        let mut left = Duration::from_millis(10);
        assert!(within(&mut left, std::future::pending::<()>()).await.is_err());
        assert_eq!(left, Duration::ZERO);
        let mut left = Duration::from_secs(3600);
        assert_eq!(within(&mut left, async { 1 }).await.unwrap(), 1);
    }
}
