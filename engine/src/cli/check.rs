//! `sentrail check`

use std::path::Path;
use std::sync::Arc;

use crate::config::{self, ForwardKind, LookupFrom, LookupSettings, SourceKind};
use crate::detect::Loader;
use crate::lookup::{self, LookupError};
use crate::normalize::Normalizer;
use crate::store::Views;
use crate::{forward, pipeline, source, store};

/// The configuration names something that cannot be used as things stand.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the things the configuration names cannot be used; see above")]
pub struct Unusable(usize);

pub async fn check(config: &Path) -> anyhow::Result<()> {
    let settings = config::load(config)?;
    let normalizer = Normalizer::new(
        &settings.sources,
        &config::read_formats(settings.formats_dir.as_deref())?,
    )?;
    let mut unusable = 0;
    let mut tell = |what: String, result: Result<String, String>| match result {
        Ok(found) => outln!("ok    {what}: {found}"),
        Err(reason) => {
            unusable += 1;
            outln!("FAIL  {what}: {reason}")
        }
    };
    let dir = &settings.storage.dir;
    let found = store::check(dir).map(str::to_owned).map_err(|error| error.to_string());
    tell(format!("storage {}", dir.display()), found)?;
    for source in &settings.sources {
        let kind = match &source.kind {
            SourceKind::File { follow: false, .. } => "file, read to the end",
            SourceKind::File { follow: true, .. } => "file, followed",
            SourceKind::Kafka(_) => "kafka",
            SourceKind::Http(_) => "http",
            SourceKind::Syslog(_) => "syslog",
        };
        let lateness = normalizer.lateness(&source.name) / crate::model::time::SECOND;
        let what = format!(
            "source {} ({kind}, {}, up to {lateness} s late)",
            source.name, source.format
        );
        tell(what, source::check(source).await.map_err(|error| error.to_string()))?;
    }
    for lookup in &settings.lookups {
        let (what, result) = match &lookup.from {
            LookupFrom::File { path, format } => {
                let loaded = lookup::load(lookup, path, *format, 0);
                (
                    path.display().to_string(),
                    loaded.map(|loaded| format!("{} rows", loaded.table.rows())),
                )
            }
            LookupFrom::Sql { .. } => ("sql".to_owned(), answer(lookup, dir).await),
        };
        let what = format!("lookup {} ({what}, {})", lookup.name, lookup.on);
        tell(what, result.map_err(|error| error.reason))?;
    }
    let (_, detectors) = Loader::start(&settings.plugins, None, pipeline::others(&normalizer))?;
    for plugin in detectors.manifests() {
        tell(
            format!("plugin {}", plugin.id),
            Ok(format!("version {}, {} rules", plugin.version, plugin.rules.len())),
        )?;
    }
    if let Some(path) = &settings.plugins.rules {
        let rules = detectors.rules().settings();
        let found = format!(
            "{} rules changed, {} exceptions, {} inhibitions",
            rules.rules.len(),
            rules.exceptions.len(),
            rules.inhibits.len()
        );
        tell(format!("rules {}", path.display()), Ok(found))?;
    }
    let sequences = config::load_sequences(settings.sequences.dir.as_deref(), settings.sequences.shipped)?;
    let found = format!("{} in force", sequences.sequences.len());
    tell("sequences".into(), Ok(found))?;
    for problem in detectors.problems() {
        tell("plugin".into(), Err(problem.to_string()))?;
    }
    for forward in &settings.forward {
        let target = match &forward.kind {
            ForwardKind::Webhook { url, .. } => url.to_string(),
            ForwardKind::Syslog { address } => address.clone(),
        };
        let result = forward::check(forward).await;
        tell(
            format!("forward {}", forward.name),
            result.map(|()| target).map_err(|error| error.to_string()),
        )?;
    }
    for (name, address) in [("http", settings.serve.http), ("postgres", settings.serve.postgres)] {
        if let Some(address) = address {
            let bound = std::net::TcpListener::bind(address);
            tell(
                format!("serve {name}"),
                bound.map(|_| address.to_string()).map_err(|error| {
                    format!("cannot listen on {address}: {error}; is an engine running there already?")
                }),
            )?;
        }
    }
    match unusable {
        0 => Ok(()),
        count => Err(Unusable(count).into()),
    }
}

/// What a lookup's statement gives over a data directory, if there is one yet.
async fn answer(lookup: &LookupSettings, dir: &Path) -> Result<String, LookupError> {
    match store::open_readonly(dir).await {
        Ok(view) => {
            let table = pipeline::ask(lookup, &Views::fixed(Arc::new(view))).await?;
            Ok(format!("{} rows at present", table.rows()))
        }
        Err(_) => Ok("asked when there are tables".to_owned()),
    }
}
