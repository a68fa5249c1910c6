//! How long a statement may take.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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

/// What keeps a thread for longer at one go, such as a plan that grows without end, cannot be ended alone.
pub const STUCK_AFTER: Duration = Duration::from_secs(20);

const WATCH_BEAT: Duration = Duration::from_secs(1);

/// Part of one core that taking in new rows may need while no statement is worked on.
const IDLE_WORK_MAX: f64 = 0.9;

/// Where the library keeps what a client set with `SET statement_timeout`.
const STATEMENT_TIMEOUT: &str = "statement_timeout_ms";

/// Answers as the library does, and no longer than a statement may take.
pub(super) struct Limited {
    pub service: Arc<DfSessionService>,
    pub watchdog: Watchdog,
}

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
        let statement = self.watchdog.statement();
        let answer = SimpleQueryHandler::do_query(&*self.service, client, query);
        let responses = within(&mut left, answer).await??;
        let responses = responses.into_iter();
        Ok(responses
            .map(|response| limited(response, left, statement.clone()))
            .collect())
    }
}

#[async_trait]
impl ExtendedQueryHandler for Limited {
    type Statement = <DfSessionService as ExtendedQueryHandler>::Statement;
    type QueryParser = <DfSessionService as ExtendedQueryHandler>::QueryParser;

    fn query_parser(&self) -> Arc<Self::QueryParser> {
        self.service.query_parser()
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
        let statement = self.watchdog.statement();
        let answer = ExtendedQueryHandler::do_query(&*self.service, client, portal, max_rows);
        let response = within(&mut left, answer).await??;
        Ok(limited(response, left, statement))
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

fn limited(response: Response, left: Duration, statement: Arc<Statement>) -> Response {
    let Response::Query(mut rows) = response else {
        return response;
    };
    let stream = futures::stream::unfold(Some((rows.data_rows, left, statement)), |state| async move {
        let (mut rows, mut left, statement) = state?;
        match within(&mut left, rows.next()).await {
            Ok(row) => row.map(|row| (row, Some((rows, left, statement)))),
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

/// Sees statements that cannot be ended alone: one that keeps a thread, whether planning or running, and work that goes on for
/// none.
#[derive(Clone, Default)]
pub struct Watchdog(Arc<Watched>);

#[derive(Default)]
struct Watched {
    /// Which clients keep a thread, and since when.
    turns: Mutex<HashMap<u64, Instant>>,
    /// Statements that are worked on, or whose rows are awaited.
    statements: AtomicUsize,
    /// Rises while the runtime has a thread to spare.
    pulse: AtomicU64,
}

impl Watchdog {
    /// `client`, watched under a number of its own.
    pub(super) fn watch<F: Future>(&self, number: u64, client: F) -> Turns<F> {
        Turns {
            watchdog: self.clone(),
            number,
            client: Box::pin(client),
        }
    }

    /// Counts a statement until the answer is dropped.
    fn statement(&self) -> Arc<Statement> {
        self.0.statements.fetch_add(1, Ordering::Relaxed);
        Arc::new(Statement(self.clone()))
    }

    /// For a task of its own.
    pub(super) async fn beat(self) {
        loop {
            self.0.pulse.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(WATCH_BEAT).await;
        }
    }

    /// Returns, for a thread of its own, when something went on for longer than `limit` that cannot be ended alone: what. `worked` is the
    /// processor time that the process has taken so far.
    pub(super) fn wait(&self, limit: Duration, worked: impl Fn() -> Duration) -> &'static str {
        let mut pulse = (0, Instant::now());
        let mut idle = (Instant::now(), worked());
        loop {
            std::thread::sleep(WATCH_BEAT.min(limit));
            if self.with(|turns| turns.values().any(|began| began.elapsed() > limit)) {
                return "a statement keeps a thread";
            }
            let now = self.0.pulse.load(Ordering::Relaxed);
            if pulse.0 != now {
                pulse = (now, Instant::now());
            } else if pulse.1.elapsed() > limit {
                return "statements keep all threads";
            }
            if self.0.statements.load(Ordering::Relaxed) > 0 {
                idle = (Instant::now(), worked());
            } else if idle.0.elapsed() > limit {
                if worked().saturating_sub(idle.1) > idle.0.elapsed().mul_f64(IDLE_WORK_MAX) {
                    return "work goes on that no statement waits for";
                }
                idle = (Instant::now(), worked());
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<u64, Instant>) -> T) -> T {
        act(&mut self.0.turns.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Statement(Watchdog);

impl Drop for Statement {
    fn drop(&mut self) {
        self.0.0.statements.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client, whose every turn is timed.
pub(super) struct Turns<F> {
    watchdog: Watchdog,
    number: u64,
    client: Pin<Box<F>>,
}

impl<F: Future> Future for Turns<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let number = self.number;
        self.watchdog.with(|turns| turns.insert(number, Instant::now()));
        let result = self.client.as_mut().poll(context);
        self.watchdog.with(|turns| turns.remove(&number));
        result
    }
}

impl<F> Drop for Turns<F> {
    /// After a panic too.
    fn drop(&mut self) {
        self.watchdog.with(|turns| turns.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(700);

    fn seen(watchdog: &Watchdog, worked: fn() -> Duration) -> &'static str {
        let watchdog = watchdog.clone();
        std::thread::spawn(move || watchdog.wait(SHORT, worked)).join().unwrap()
    }

    #[test]
    fn what_cannot_be_ended_alone_is_seen() {
        let runtime = |threads| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads).enable_all().build().unwrap()
        };
        // A client that keeps a thread, among others that wait.
        let watchdog = Watchdog::default();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let running = runtime(2);
        running.spawn(watchdog.watch(1, std::future::pending::<()>()));
        running.spawn(watchdog.watch(2, async move { wait.recv() }));
        running.spawn(watchdog.clone().beat());
        assert_eq!(seen(&watchdog, || Duration::ZERO), "a statement keeps a thread");
        drop(go_on);
        // A task that a statement began keeps the only thread.
        let watchdog = Watchdog::default();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let running = runtime(1);
        running.spawn(watchdog.clone().beat());
        running.spawn(async move { wait.recv() });
        let statement = watchdog.statement();
        assert_eq!(seen(&watchdog, || Duration::ZERO), "statements keep all threads");
        drop(go_on);
        drop(statement);
        // One that outlived its statement keeps one of several.
        fn always() -> Duration {
            static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
            BEGAN.elapsed()
        }
        let watchdog = Watchdog::default();
        let running = runtime(1);
        running.spawn(watchdog.clone().beat());
        let beating = watchdog.clone();
        std::thread::spawn(move || {
            loop {
                beating.0.pulse.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(SHORT / 10);
            }
        });
        assert_eq!(seen(&watchdog, always), "work goes on that no statement waits for");
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
