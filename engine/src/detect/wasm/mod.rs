//! The sandbox. The only folder that knows wasmtime.
//!
//! A guest has what schemas/wit/plugin.wit gives it and nothing else: no clock, file, network, environment or randomness. Its
//! memory, its time per call, its log and what it hands back are limited.

mod instance;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

pub(super) use bindings::sentrail::plugin::types::{
    Detection as FoundDetection, Elapsed, Entity as FoundEntity, Evidence, Findings,
};
pub(super) use instance::{Instance, severity};

use super::error::{CallError, CallFault, DetectError};
use instance::State;

/// Generated from schemas/wit.
pub(super) mod bindings {
    wasmtime::component::bindgen!({
        path: "../schemas/wit",
        world: "plugin",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

/// How often running guests are looked at: a call may run this much longer than its limit.
const TICK: Duration = Duration::from_millis(10);
/// Most instances at once: 15 plugins of 16 shards, twice. Each reserves some 6 GiB of address space and no memory.
pub(super) const INSTANCES_MAX: usize = 512;
/// Most elements of one function table.
const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Core instances, memories and tables of one component: a Rust guest has two or three core instances, a JavaScript one a dozen, a
/// Python one some forty, for it is linked from libraries.
const CORE_INSTANCES_MAX: u32 = 48;
const MEMORIES_MAX: u32 = 2;
const TABLES_MAX: u32 = 8;
/// Machine stack of a guest, in bytes.
const STACK_BYTES_MAX: usize = 512 << 10;
/// Most that one call may hand back, in bytes as the host holds it. Overlapping strings count each time.
pub const OUTPUT_BYTES_MAX: usize = 32 << 20;

/// What one call may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Linear memory of an instance, in bytes.
    pub memory_bytes_max: usize,
    /// Wall time of a call.
    pub call_time_max: Duration,
    /// Its own words are not to be told, once it has seen rows.
    pub hide_words: bool,
}

impl Limits {
    fn ticks(&self) -> u64 {
        (self.call_time_max.as_nanos() / TICK.as_nanos()) as u64 + 2
    }
}

/// The engine that all guests of one stage share.
pub(super) struct Host {
    engine: Engine,
    linker: Linker<State>,
    limits: Limits,
}

impl Host {
    /// `cache_dir` keeps compiled guests. Only this program may write there: what it holds is run as it is.
    pub fn new(limits: Limits, cache_dir: Option<&Path>) -> Result<Host, DetectError> {
        let engine = engine(cache_dir).map_err(|error| DetectError::Engine {
            reason: format!("{error:#}"),
        })?;
        let mut linker = Linker::new(&engine);
        bindings::Plugin::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state).map_err(|error| {
            DetectError::Engine {
                reason: format!("{error:#}"),
            }
        })?;
        let ticker = engine.weak();
        thread::Builder::new()
            .name("plugin-ticker".into())
            .spawn(move || {
                // Ends with the last guest of this engine.
                while let Some(engine) = ticker.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    thread::sleep(TICK);
                }
            })
            .map_err(|error| DetectError::Engine {
                reason: format!("no thread for the ticker: {error}"),
            })?;
        Ok(Host { engine, linker, limits })
    }

    /// Compiles a component, or takes it from the cache, and sees that it wants nothing but what the contract gives.
    pub fn load(&self, bytes: &[u8]) -> Result<Guest, String> {
        let component = Component::from_binary(&self.engine, bytes)
            .map_err(|error| format!("it is no usable WebAssembly component: {error:#}"))?;
        let mut imports = Vec::new();
        for (name, item) in component.component_type().imports(&self.engine) {
            let allowed = name.starts_with("sentrail:plugin/host@")
                || name.starts_with("sentrail:plugin/types@")
                || matches!(item.ty, ComponentItem::Type(_));
            if !allowed {
                return Err(format!(
                    "it imports `{name}`; a plugin may import sentrail:plugin/host alone (built for wasm32-unknown-unknown it \
                     imports no WASI)"
                ));
            }
            imports.push(name.to_owned());
        }
        let pre = self
            .linker
            .instantiate_pre(&component)
            .and_then(bindings::PluginPre::new)
            .map_err(|error| format!("it does not fit the contract of schemas/wit/plugin.wit: {error:#}"))?;
        Ok(Guest {
            pre,
            imports,
            limits: self.limits,
        })
    }
}

fn engine(cache_dir: Option<&Path>) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    // Spare ones for instances that are being replaced.
    let instances = INSTANCES_MAX as u32 + 8;
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES_MAX)
        .total_memories(instances)
        .total_tables(instances * 2)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(0)
        .table_keep_resident(0);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES_MAX)
        .wasm_backtrace_max_frames(None)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    if let Some(dir) = cache_dir {
        let mut cache = CacheConfig::new();
        // The cache takes nothing else, and a data directory may be relative.
        cache.with_directory(std::path::absolute(dir)?);
        config.cache(Some(Cache::new(cache)?));
    }
    Engine::new(&config)
}

/// A compiled plugin that can be instantiated.
pub(super) struct Guest {
    pre: bindings::PluginPre<State>,
    /// Names of what it takes from the host.
    pub imports: Vec<String>,
    limits: Limits,
}

impl Guest {
    /// A fresh instance. `name` stands in its log lines.
    pub fn instantiate(&self, name: Arc<str>) -> Result<Instance, CallError> {
        Instance::new(&self.pre, self.limits, name).map_err(|error| CallError {
            fault: CallFault::Start,
            reason: format!("it cannot be instantiated: {error}"),
        })
    }
}
