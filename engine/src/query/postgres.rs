//! The PostgreSQL protocol, so that psql and every driver can ask.

mod limits;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DataFusionStatement;
use datafusion::sql::sqlparser::ast::{Declare, Expr, Set, Statement};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::setup_pg_catalog;
use datafusion_postgres::hooks::HookClient;
use datafusion_postgres::hooks::cursor::CursorStatementHook;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use datafusion_postgres::pgwire::api::auth::noop::NoopStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::SASLAuthStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramAuth, gen_salted_password};
use datafusion_postgres::pgwire::api::auth::{
    AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler,
};
use datafusion_postgres::pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use datafusion_postgres::pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use datafusion_postgres::pgwire::api::results::{Response, Tag};
use datafusion_postgres::pgwire::api::{ClientInfo, ConnectionManager, PgWireServerHandlers};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use datafusion_postgres::pgwire::tokio::process_socket;
use datafusion_postgres::{DfSessionService, QueryHook};
use futures::Sink;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::Secret;

use super::{DATABASE, QueryError, read_only};
pub use limits::Watchdog;
use limits::{Limited, STUCK_AFTER};

/// Clients at a time: each may hold a query's memory and a view. One more is turned away at once.
const CONNECTIONS_MAX: usize = 64;

/// Pause after a connection could not be accepted (out of file handles, mostly), so that trying again does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A client that is gone without a word gives its place back after about this long.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Exit status of a process that could not end a statement otherwise.
const STUCK: i32 = 70;

/// Who may ask. An empty user name lets any name in that knows the password.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// Serves `session` until the future is dropped. With credentials, clients prove the password by SCRAM-SHA-256. `watchdog` sees
/// what cannot be ended alone.
pub async fn serve(
    listener: TcpListener,
    session: SessionContext,
    credentials: Option<Credentials>,
    watchdog: Watchdog,
) -> Result<(), QueryError> {
    setup_pg_catalog(&session, DATABASE, EmptyContextProvider).map_err(QueryError::Sql)?;
    let hooks: Vec<Arc<dyn QueryHook>> = vec![
        Arc::new(ReadOnly),
        Arc::new(CursorStatementHook),
        Arc::new(SetShowHook),
        Arc::new(TransactionStatementHook),
    ];
    let connections = Arc::new(ConnectionManager::new());
    tokio::spawn(watchdog.clone().beat());
    let handlers = Arc::new(Handlers {
        service: Arc::new(Limited {
            service: Arc::new(DfSessionService::new_with_hooks(Arc::new(session), hooks)),
            watchdog: watchdog.clone(),
        }),
        cancel: Arc::new(DefaultCancelHandler::new(connections.clone())),
        connections,
        credentials: credentials.map(Arc::new),
    });
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0.. {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a PostgreSQL client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while clients.try_join_next().is_some() {}
        let Ok(place) = free.clone().try_acquire_owned() else {
            tracing::warn!(%address, limit = CONNECTIONS_MAX, "too many PostgreSQL clients: turning one away");
            continue;
        };
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        if let Err(error) = SockRef::from(&socket).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%address, %error, "a client that vanishes will not be noticed");
        }
        let handlers = handlers.clone();
        clients.spawn(watchdog.watch(number, async move {
            if let Err(error) = process_socket(socket, None, handlers).await {
                tracing::debug!(%address, %error, "a PostgreSQL client left");
            }
            drop(place);
        }));
    }
    Ok(())
}

/// Ends the whole process when a statement does not end otherwise. On a thread of its own, for all others may be kept.
pub fn end_when_stuck(watchdog: Watchdog) {
    std::thread::spawn(move || {
        let reason = watchdog.wait(STUCK_AFTER, processor_time);
        tracing::error!(
            seconds = STUCK_AFTER.as_secs(),
            "{reason} and cannot be ended alone: ending the SQL server"
        );
        std::process::exit(STUCK);
    });
}

/// What this process has taken so far; nothing where the system does not tell.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // proc(5): after the name in parentheses, utime and stime are the 12th and 13th, in hundredths of a second.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace();
    let hundredths: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(hundredths * 10)
}

struct Handlers {
    service: Arc<Limited>,
    cancel: Arc<DefaultCancelHandler>,
    connections: Arc<ConnectionManager>,
    credentials: Option<Arc<Credentials>>,
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.service.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.service.clone()
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        Arc::new(match &self.credentials {
            None => Startup::Open(OpenStartup(self.connections.clone())),
            Some(credentials) => {
                let scram = ScramAuth::new(Arc::new(PasswordSource(credentials.clone())));
                let handler = SASLAuthStartupHandler::new(Arc::new(DefaultServerParameterProvider::default()))
                    .with_scram(scram)
                    .with_connection_manager(self.connections.clone());
                Startup::Scram(Box::new(handler))
            }
        })
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        self.cancel.clone()
    }
}

/// How one client comes in.
enum Startup {
    Open(OpenStartup),
    Scram(Box<SASLAuthStartupHandler<DefaultServerParameterProvider>>),
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match self {
            Startup::Open(handler) => handler.on_startup(client, message).await,
            Startup::Scram(handler) => handler.on_startup(client, message).await,
        }
    }
}

struct OpenStartup(Arc<ConnectionManager>);

#[async_trait]
impl NoopStartupHandler for OpenStartup {
    fn connection_manager(&self) -> Option<Arc<ConnectionManager>> {
        Some(self.0.clone())
    }
}

#[derive(Debug)]
struct PasswordSource(Arc<Credentials>);

#[async_trait]
impl AuthSource for PasswordSource {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let salt: [u8; 16] = rand::random();
        let known = self.0.user.is_empty() || login.user() == Some(self.0.user.as_str());
        // A wrong name goes through the same motions as a wrong password, so that it cannot be told apart.
        let unguessable: [u8; 32] = rand::random();
        let unguessable = hex::encode(unguessable);
        let password = if known { self.0.password.reveal() } else { &unguessable };
        Ok(Password::new(
            Some(salt.to_vec()),
            gen_salted_password(password, &salt, SCRAM_ITERATIONS),
        ))
    }
}

/// Settings of a client's own that change nothing for others.
const CLIENT_SETTINGS: [&str; 7] = [
    "statement_timeout",
    "datestyle",
    "bytea_output",
    "intervalstyle",
    "application_name",
    "extra_float_digits",
    "search_path",
];

/// Lets questions through and turns everything else away. All clients share one session, so that what would change it is not passed
/// on either.
#[derive(Debug)]
struct ReadOnly;

impl ReadOnly {
    /// The plan of a question; an error for anything that writes.
    async fn plan(statement: &Statement, session: &SessionContext) -> PgWireResult<LogicalPlan> {
        let statement = DataFusionStatement::Statement(Box::new(statement.clone()));
        let plan = session
            .state()
            .statement_to_plan(statement)
            .await
            .map_err(|error| PgWireError::ApiError(Box::new(error)))?;
        read_only()
            .verify_plan(&plan)
            .map_err(|error| refused(&error.strip_backtrace()))?;
        Ok(plan)
    }

    async fn check(statement: &Statement, session: &SessionContext) -> PgWireResult<Verdict> {
        match statement {
            Statement::Declare { stmts } => {
                for Declare { for_query, .. } in stmts {
                    if let Some(query) = for_query {
                        ReadOnly::plan(&Statement::Query(query.clone()), session).await?;
                    }
                }
                Ok(Verdict::PassOn)
            }
            Statement::Fetch { .. }
            | Statement::Close { .. }
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::ShowVariable { .. }
            | Statement::ShowStatus { .. }
            | Statement::ShowCatalogs { .. } => Ok(Verdict::PassOn),
            Statement::Set(set) => check_set(set),
            _ => Ok(Verdict::Question(Box::new(ReadOnly::plan(statement, session).await?))),
        }
    }
}

enum Verdict {
    Question(Box<LogicalPlan>),
    /// For the hooks behind this one.
    PassOn,
    /// A setting that has no meaning here: said to be done.
    Ignore,
}

fn check_set(set: &Set) -> PgWireResult<Verdict> {
    match set {
        Set::SingleAssignment {
            scope: None,
            hivevar: false,
            variable,
            values,
        } => {
            let name = variable.to_string().to_lowercase();
            if name.starts_with("datafusion") {
                return Err(refused(&format!("`{name}` belongs to all clients")));
            }
            let one_value = matches!(values.as_slice(), [Expr::Value(_), ..]);
            if name == "statement_timeout" {
                check_timeout(values)?;
            }
            let passed = CLIENT_SETTINGS.contains(&name.as_str()) && one_value;
            Ok(if passed { Verdict::PassOn } else { Verdict::Ignore })
        }
        Set::SetRole { .. } | Set::SetSessionAuthorization(_) => Err(refused("there are no roles here")),
        // Times are always shown in UTC, with their offset; a client that sets a zone of its own gets on with that.
        _ => Ok(Verdict::Ignore),
    }
}

/// A number of milliseconds, or one with a unit that the library knows.
fn check_timeout(values: &[Expr]) -> PgWireResult<()> {
    let [value] = values else { return Ok(()) };
    let text = value.to_string();
    let text = text.trim_matches(['\'', '"']);
    if text.eq_ignore_ascii_case("default") {
        return Ok(());
    }
    let number = ["ms", "min", "s"].into_iter().find_map(|unit| text.strip_suffix(unit));
    if number.unwrap_or(text).parse::<u32>().is_ok() {
        return Ok(());
    }
    let message = format!("`{text}` is no statement_timeout: write milliseconds, or a number with ms, s or min");
    // 22023 is invalid_parameter_value.
    let error = ErrorInfo::new("ERROR".to_string(), "22023".to_string(), message);
    Err(PgWireError::UserError(Box::new(error)))
}

fn refused(reason: &str) -> PgWireError {
    // 25006 is read_only_sql_transaction.
    let message = format!("{reason}: this server only answers questions (SELECT, EXPLAIN, SHOW)");
    PgWireError::UserError(Box::new(ErrorInfo::new(
        "ERROR".to_string(),
        "25006".to_string(),
        message,
    )))
}

fn nothing() -> LogicalPlan {
    LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(datafusion::common::DFSchema::empty()),
    })
}

#[async_trait]
impl QueryHook for ReadOnly {
    async fn handle_simple_query(
        &self,
        statement: &Statement,
        session: &SessionContext,
        _client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        match ReadOnly::check(statement, session).await {
            Ok(Verdict::Question(_) | Verdict::PassOn) => None,
            Ok(Verdict::Ignore) => Some(Ok(Response::Execution(Tag::new("SET")))),
            Err(error) => Some(Err(error)),
        }
    }

    async fn handle_extended_parse_query(
        &self,
        statement: &Statement,
        session: &SessionContext,
        _client: &(dyn ClientInfo + Send + Sync),
    ) -> Option<PgWireResult<LogicalPlan>> {
        match ReadOnly::check(statement, session).await {
            Ok(Verdict::Question(plan)) => Some(Ok(*plan)),
            Ok(Verdict::PassOn) => None,
            Ok(Verdict::Ignore) => Some(Ok(nothing())),
            Err(error) => Some(Err(error)),
        }
    }

    async fn handle_extended_query(
        &self,
        statement: &Statement,
        _plan: &LogicalPlan,
        _params: &ParamValues,
        _session: &SessionContext,
        _client: &mut dyn HookClient,
    ) -> Option<PgWireResult<Response>> {
        // Questions were checked when they were parsed; their plan, with the client's parameters, runs behind the hooks.
        match statement {
            Statement::Set(set) => match check_set(set) {
                Ok(Verdict::Ignore) => Some(Ok(Response::Execution(Tag::new("SET")))),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            },
            _ => None,
        }
    }
}
