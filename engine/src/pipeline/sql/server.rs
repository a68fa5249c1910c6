//! The process's side: answers clients over the tables of the data directory and the rows that the engine sends.

use std::io::{self, BufRead, BufReader, Stdin};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::super::PipelineError;
use super::super::servers::search_function;
use super::{Start, sql_spill};
use crate::config::Secret;
use crate::query::{self, SearchFn, postgres};
use crate::search::Searcher;
use crate::serve::ServeError;
use crate::store::{ViewReceiver, Views};

/// Serves until the engine is gone: standard input is what it sends, standard output the socket that clients come to.
pub async fn serve_sql() -> Result<(), PipelineError> {
    ignore_signals();
    let failed = |source| ServeError::Sql { source };
    let listener = TcpListener::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;

    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    input.read_line(&mut line).map_err(failed)?;
    let start: Start = serde_json::from_str(&line).map_err(|error| failed(error.into()))?;
    let search = search(Searcher::open(&start.dir.join("index"))?);
    let credentials = start.login.map(|login| postgres::Credentials {
        user: login.user,
        password: Secret::new(login.password),
    });

    let (sender, first) = oneshot::channel();
    let runtime = Handle::current();
    let receiver = ViewReceiver::new(&start.dir);
    // A thread of its own: it sees that the engine is gone even when every other one is busy.
    std::thread::Builder::new()
        .name("views".to_owned())
        .spawn(move || {
            let end = follow(input, receiver, sender, &runtime);
            if let Err(error) = &end {
                tracing::error!(error, "the SQL server cannot follow the engine");
            }
            std::process::exit(i32::from(end.is_err()))
        })
        .map_err(failed)?;
    let views = first.await.map_err(|_| failed(io::ErrorKind::UnexpectedEof.into()))?;
    let session = query::session(views, Some(search), Some(&sql_spill(&start.dir))).await?;
    let watchdog = postgres::Watchdog::default();
    postgres::end_when_stuck(watchdog.clone());
    Ok(postgres::serve(listener, session, credentials, watchdog).await?)
}

/// Takes view after view until the engine is gone; the first one is handed to `sender`.
fn follow(
    mut input: BufReader<Stdin>,
    mut receiver: ViewReceiver,
    sender: oneshot::Sender<Views>,
    runtime: &Handle,
) -> Result<(), String> {
    let mut next = |receiver: &mut ViewReceiver| match receiver.read(&mut input) {
        Ok(None) => Ok(None),
        Ok(Some(received)) => {
            let view = runtime.block_on(receiver.view(received));
            view.map(Some).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let Some(first) = next(&mut receiver)? else {
        return Ok(());
    };
    let views = Views::fixed(Arc::new(first));
    let _ = sender.send(views.clone());
    while let Some(view) = next(&mut receiver)? {
        views.follow(view);
    }
    Ok(())
}

/// Over what the engine has indexed by then.
fn search(searcher: Searcher) -> SearchFn {
    let search = search_function(searcher.clone());
    Arc::new(move |text| {
        searcher.reload().map_err(|error| error.to_string())?;
        search(text)
    })
}

/// A terminal's interrupt and a service manager's wish to end reach every process; clients are served until the engine has drained.
fn ignore_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        match signal(kind) {
            Ok(mut signals) => {
                tokio::spawn(async move { while signals.recv().await.is_some() {} });
            }
            Err(error) => tracing::warn!(%error, "a signal cannot be ignored"),
        }
    }
}
