//! The trait a plugin implements, and an instance of it at work.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::{read_state, take_evicted};
use crate::{Batch, Config, Findings, Manifest};

/// A detector.
pub trait Detector: Sized + 'static {
    /// What the operator may set. `()`, or a struct made with [`crate::config!`].
    type Config: Config;
    /// What is remembered from row to row; saved and restored as it is. `()` for a stateless detector.
    type State: Default + Serialize + DeserializeOwned;

    /// Builds what does not change while it runs: thresholds, pattern automata, rules that the configuration brings. An error says
    /// what is wrong with the configuration and what would be right.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// The same for the same configuration.
    fn manifest(&self) -> Manifest;

    /// Looks at each row in order. What it finds must not depend on where one batch ends and the next begins.
    fn detect(&self, state: &mut Self::State, batch: &Batch, out: &mut Findings);

    /// Event time has passed: every row up to and including `time` (microseconds) has been seen, except late ones. Called, for a
    /// detector whose manifest says `wants_time`, now and then: how often is chance. So what it finds must not depend on that, and
    /// `detect` must first tell what came true before a row that is not late: `self.advance(state, batch.time(row) - 1, out)`.
    fn advance(&self, _state: &mut Self::State, _time: i64, _out: &mut Findings) {}

    /// Brings the state that an earlier release saved as `version` to its present form; [`crate::read_state`] reads the form it had.
    /// An error means that the state begins empty.
    fn migrate(version: u32, _saved: &[u8]) -> Result<Self::State, String> {
        Err(format!("this release does not read state of version {version}"))
    }
}

/// A configured detector and its state.
pub struct Instance<D: Detector> {
    detector: D,
    manifest: Manifest,
    state: D::State,
}

impl<D: Detector> Instance<D> {
    /// Takes the configuration as JSON text; empty means `{}`.
    pub fn new(json: &str) -> Result<Self, String> {
        let detector = D::new(D::Config::from_json(json)?)?;
        Ok(Self {
            manifest: detector.manifest(),
            detector,
            state: D::State::default(),
        })
    }

    /// What the detector says of itself under this configuration.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Looks at a batch.
    pub fn detect(&mut self, batch: &Batch) -> Findings {
        self.collect(|detector, state, out| detector.detect(state, batch, out))
    }

    /// Lets event time pass.
    pub fn advance(&mut self, time: i64) -> Findings {
        self.collect(|detector, state, out| detector.advance(state, time, out))
    }

    fn collect(&mut self, look: impl FnOnce(&D, &mut D::State, &mut Findings)) -> Findings {
        let mut out = Findings::default();
        take_evicted();
        look(&self.detector, &mut self.state, &mut out);
        out.keys_evicted = take_evicted();
        out
    }

    /// The state as bytes; empty when there is none.
    pub fn save(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and a state that serde cannot write fails the plugin's first test.
        postcard::to_allocvec(&self.state).unwrap_or_default()
    }

    /// Takes up what [`Instance::save`] gave, of this release or, in the form `version`, of an earlier one.
    pub fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        self.state = if bytes.is_empty() {
            D::State::default()
        } else if version == self.manifest.state_version {
            read_state(bytes)?
        } else {
            D::migrate(version, bytes)?
        };
        Ok(())
    }
}

/// Makes the crate a component that runs the given detector when it is built for wasm32; elsewhere a library whose detector
/// `sentrail plugin bench` can run as native code. Stands at the crate's root.
#[macro_export]
macro_rules! export {
    ($detector:ty) => {
        #[cfg(target_arch = "wasm32")]
        $crate::export_component!($detector);
        #[cfg(not(target_arch = "wasm32"))]
        #[doc(hidden)]
        pub fn sentrail_native(
            config: &str,
        ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::testing::Native>, ::std::string::String> {
            ::std::result::Result::Ok(::std::boxed::Box::new($crate::Instance::<$detector>::new(
                config,
            )?))
        }
    };
}
